-- Tables over the files of export.sql. Declare them once: each export replaces the files.
CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_versions (
  dataset string, position bigint, version string, audit_id string, created_at timestamp, examples bigint,
  scored bigint, label_issues bigint, error_rate double, gate string, error_rate_low double,
  error_rate_high double, error_rate_basis string, is_newest boolean)
STORED AS PARQUET LOCATION 's3://audit-tables/versions/';

CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_classes (
  dataset string, position bigint, version string, audit_id string, created_at timestamp, class_name string,
  examples bigint, label_issues bigint, error_rate double)
STORED AS PARQUET LOCATION 's3://audit-tables/classes/';

CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_issues (
  is_newest boolean, created_at timestamp, `rank` bigint, example_id string, given_label string,
  suggested_label string, label_score double, p_given float, p_suggested float, margin float, fold smallint,
  file string, `row` bigint, verdict string, right_label string, p_wrong float, views_agree float, input_issues string,
  dataset string, version string)
STORED AS PARQUET LOCATION 's3://audit-tables/issues/';
