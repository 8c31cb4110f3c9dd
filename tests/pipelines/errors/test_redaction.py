import pytest

from pipelines.errors.redaction import holds_credentials, redact, redact_values


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No secret of the machine that runs the tests."""
    monkeypatch.setattr("os.environ", {"HOME": "/root"})


@pytest.mark.parametrize(
    ("said", "blank"),
    [
        ("refused by https://ann:swordfish@tracking:5000/path", "refused by https://ann:***@tracking:5000/path"),
        ("s3://AKIAX:sec/ret+key/with=signs@bucket/key", "s3://AKIAX:***@bucket/key"),
        ("postgresql+psycopg2://mlflow:pass@word@db:5432/x", "postgresql+psycopg2://mlflow:***@db:5432/x"),
        ("(https://ghp_0123456789@host/repo.git)", "(https://***@host/repo.git)"),
        ("https://h/1.png?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=0a1b&x=1", "https://h/1.png?X-Amz-Credential=***&X-Amz-Signature=***&x=1"),
        ("https://h/1.png?AWSAccessKeyId=AKIA&Signature=a%2B&Expires=9", "https://h/1.png?AWSAccessKeyId=***&Signature=***&Expires=9"),
        ("https://h/1.png?sv=2024&sig=abc%3D 404", "https://h/1.png?sv=2024&sig=*** 404"),
        ("GET /x?access_token=abc&page=2", "GET /x?access_token=***&page=2"),
        ("Authorization: Basic dXNlcjpwYXNz\nHost: x", "Authorization: ***\nHost: x"),
        ("{'Authorization': 'Bearer abcdefgh'}", "{'Authorization': ***"),
        ("bearer abcdefgh.ijkl refused", "bearer *** refused"),
        ("AccountName=x;AccountKey=ab/c+d==;BlobEndpoint=http://h", "AccountName=x;AccountKey=***;BlobEndpoint=http://h"),
        ("SharedAccessSignature=sv=2024&sig=a%2B; no", "SharedAccessSignature=***; no"),
    ],
)  # fmt: skip
def test_what_urls_and_headers_carry_is_blanked(said, blank):
    assert redact(said) == blank
    assert redact(blank) == blank


@pytest.mark.parametrize(
    "said",
    [
        "/data/a@b:c/1@2x.png does not exist",
        "s3://bucket/a:b@c/1.png",
        "http://127.0.0.1:9000/bucket/1@2x.png",
        "models:/upfusion@champion",
        "sqlite:////data/mlflow.db",
        "https://host/1.png?version=3&signed=no",
        "No bearer of news; write to ann@example.org: the key=value form",
    ],
)
def test_what_is_no_secret_stays_readable(said):
    assert redact(said) == said
    assert not holds_credentials(said)


@pytest.mark.parametrize(
    "form", ["{}", "x={}&y", "'{}'", "s3://bucket/{}/1.png", "[Errno 5] signed with {}: 's3://bucket/x'"]
)
@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "aws_session_token", "HF_TOKEN", "MY_API_KEY", "PGPASSWORD", "AZURE_STORAGE_ACCOUNT_KEY"],
)
def test_what_the_environment_calls_secret_is_blanked(monkeypatch, form, name):
    monkeypatch.setenv(name, "open/sesame+1")
    for written in ("open/sesame+1", "open%2Fsesame%2B1", "open/sesame%2B1"):
        assert redact(form.format(written)) == form.format("***")


def test_a_secret_that_python_writes_with_escapes_is_blanked(monkeypatch):
    secret = "back\\slash'quote"
    monkeypatch.setenv("PASSWORD", secret)
    assert redact(str([secret])) == '["***"]'


def test_the_password_of_a_url_in_the_environment_is_blanked_by_itself(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://mlflow:swordfish@db/x")
    assert redact("swordfish is wrong at postgresql://mlflow:swordfish@db/x") == (
        "*** is wrong at postgresql://mlflow:***@db/x"
    )


def test_of_secrets_inside_one_another_nothing_is_left(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "swordfish")
    monkeypatch.setenv("B_TOKEN", "swordfish-and-more")
    assert redact("swordfish-and-more, swordfish") == "***, ***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/data/llvip"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/data/llvip"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/data/llvip"),
        ("TOKENIZERS_PARALLELISM", "true"),
        ("PATIENT", "/data/llvip"),
    ],
)
def test_places_and_short_words_are_no_secrets(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert redact("/data/llvip is true") == "/data/llvip is true"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket", "s3://AKIAX:sec/ret@bucket/x", "https://user:pass@host", "https://token@host/x",
        "https://host/x?X-Amz-Signature=a", "HTTPS://host/x?a=1&Signature=b", "https://host/x?sig=c", "https://h?token=d",
        "night=s3://key:secret@bucket", "a,https://token@host", "postgresql://mlflow:pass@db/x",
    ],
)  # fmt: skip
def test_credentials_in_a_uri_are_seen(uri):
    assert holds_credentials(uri)


def test_every_text_of_a_value_is_blanked_and_no_name_of_a_field(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "swordfish")
    value = {"a": ["swordfish", 1, None], "swordfish": {"b": ("x swordfish", True, 1.5)}}
    assert redact_values(value) == {"a": ["***", 1, None], "swordfish": {"b": ["x ***", True, 1.5]}}
