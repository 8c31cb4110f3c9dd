"""A cluster on one machine, of plain processes: S3 server, PostgreSQL, MLflow server, Ray head and two workers."""
