-- Athena, Redshift Spectrum and their kin read every file of a folder, so they cannot read audits where these lie,
-- beside pages and manifests. This writes the views of duckdb.sql as folders that hold one table each; run it after
-- the audits of the night. Replace s3://audit-tables.
COPY (SELECT * FROM labelaudit_versions) TO 's3://audit-tables/versions'
  (FORMAT parquet, PARTITION_BY (dataset), OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'part-{i}');
COPY (SELECT * FROM labelaudit_classes) TO 's3://audit-tables/classes'
  (FORMAT parquet, PARTITION_BY (dataset), OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'part-{i}');
COPY (SELECT * FROM labelaudit_issues) TO 's3://audit-tables/issues'
  (FORMAT parquet, PARTITION_BY (dataset, version), OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'part-{i}');
