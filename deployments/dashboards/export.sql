-- Athena, Redshift Spectrum and their kin read every file of a folder, so they cannot read audits where these lie,
-- beside pages and manifests. This writes the views of duckdb.sql as folders that hold one table each; run it after
-- the audits of the night. Replace s3://audit-tables.
--
-- One file per table, which each run replaces as a whole: what is flagged no longer is in it no longer.
COPY (SELECT * FROM labelaudit_versions ORDER BY dataset, position) TO 's3://audit-tables/versions/versions.parquet';
COPY (SELECT * FROM labelaudit_classes ORDER BY dataset, position, class_name) TO 's3://audit-tables/classes/classes.parquet';
COPY (SELECT * FROM labelaudit_issues ORDER BY dataset, version, "rank") TO 's3://audit-tables/issues/issues.parquet';
