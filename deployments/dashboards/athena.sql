-- Tables over what export.sql wrote. Run MSCK REPAIR TABLE for each after a new dataset or version.
CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_versions (
  position bigint, version string, audit_id string, created_at timestamp, examples bigint, scored bigint,
  label_issues bigint, error_rate double, gate string, is_newest boolean)
PARTITIONED BY (dataset string) STORED AS PARQUET LOCATION 's3://audit-tables/versions/';

CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_classes (
  position bigint, version string, audit_id string, created_at timestamp, class_name string, examples bigint,
  label_issues bigint, error_rate double)
PARTITIONED BY (dataset string) STORED AS PARQUET LOCATION 's3://audit-tables/classes/';

CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_issues (
  is_newest boolean, created_at timestamp, `rank` bigint, example_id string, given_label string,
  suggested_label string, label_score double, p_given float, p_suggested float, margin float, fold smallint,
  file string, `row` bigint, verdict string, right_label string)
PARTITIONED BY (dataset string, version string) STORED AS PARQUET LOCATION 's3://audit-tables/issues/';
