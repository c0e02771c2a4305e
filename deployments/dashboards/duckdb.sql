-- Views over published audits, for DuckDB and its clients. Replace s3://audits with your output URL.
--
-- `hive_types_autocast = false`: versions such as 2026-01-05 and audit ids that contain only digits are names, not dates
-- and numbers. `union_by_name`: audits of older releases may lack columns.

-- The newest audit of each version. Versions are numbered from the oldest.
CREATE OR REPLACE VIEW labelaudit_versions AS
SELECT dataset, position, version, audit_id, created_at, examples, scored, label_issues, error_rate, gate,
       error_rate_low, error_rate_high, error_rate_basis,
       position = max(position) OVER (PARTITION BY dataset) AS is_newest
FROM (
  SELECT * FROM read_parquet('s3://audits/dataset=*/trend.parquet', hive_partitioning = true, hive_types_autocast = false, union_by_name = true)
  UNION ALL BY NAME
  -- No row. It adds the columns if all audits are of an older release.
  SELECT NULL::DOUBLE AS error_rate_low, NULL::DOUBLE AS error_rate_high, NULL::VARCHAR AS error_rate_basis WHERE false
)
WHERE class_name IS NULL;

-- The same per class.
CREATE OR REPLACE VIEW labelaudit_classes AS
SELECT dataset, position, version, audit_id, created_at, class_name, examples, label_issues, error_rate
FROM read_parquet('s3://audits/dataset=*/trend.parquet', hive_partitioning = true, hive_types_autocast = false, union_by_name = true)
WHERE class_name IS NOT NULL;

-- Tables of these audits. The join leaves out audits that are still being published and audits that a newer one of the
-- same version has replaced.
CREATE OR REPLACE VIEW labelaudit_issues AS
SELECT v.is_newest, v.created_at, t.* EXCLUDE (audit)
FROM read_parquet('s3://audits/dataset=*/version=*/audit=*/issues.parquet', hive_partitioning = true, hive_types_autocast = false, union_by_name = true) t
JOIN labelaudit_versions v ON t.dataset = v.dataset AND t.version = v.version AND t.audit = v.audit_id;

CREATE OR REPLACE VIEW labelaudit_examples AS
SELECT v.is_newest, v.created_at, t.* EXCLUDE (audit)
FROM read_parquet('s3://audits/dataset=*/version=*/audit=*/examples.parquet', hive_partitioning = true, hive_types_autocast = false, union_by_name = true) t
JOIN labelaudit_versions v ON t.dataset = v.dataset AND t.version = v.version AND t.audit = v.audit_id;

CREATE OR REPLACE VIEW labelaudit_confusions AS
SELECT v.is_newest, v.created_at, t.* EXCLUDE (audit)
FROM read_parquet('s3://audits/dataset=*/version=*/audit=*/confusions.parquet', hive_partitioning = true, hive_types_autocast = false, union_by_name = true) t
JOIN labelaudit_versions v ON t.dataset = v.dataset AND t.version = v.version AND t.audit = v.audit_id;
