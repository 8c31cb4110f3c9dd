from upfusion.prompts import PROMPTS, TASKS


def test_every_task_has_a_prompt_and_there_is_a_general_one() -> None:
    assert list(PROMPTS) == ["general", *TASKS]


def test_the_tasks_are_those_of_the_manifest() -> None:
    assert list(TASKS) == ["ir_visible", "ct_mri", "pet_mri", "spect_mri", "nir_visible", "sar_optical"]


def test_prompts_differ_and_say_what_to_keep() -> None:
    assert len(set(PROMPTS.values())) == len(PROMPTS)
    for prompt in PROMPTS.values():
        assert "Keep the" in prompt
        assert prompt == " ".join(prompt.split())
