-- Athena, Redshift Spectrum and similar engines read every file of a folder, so they cannot read an audit's folder, which
-- also contains a page and a manifest. This writes the views of duckdb.sql as folders with one table each. Run it after
-- the nightly audits. Replace s3://audit-tables.
--
-- Each table is one file, which each run replaces as a whole, so rows that are no longer flagged disappear.
COPY (SELECT * FROM labelaudit_versions ORDER BY dataset, position) TO 's3://audit-tables/versions/versions.parquet';
COPY (SELECT * FROM labelaudit_classes ORDER BY dataset, position, class_name) TO 's3://audit-tables/classes/classes.parquet';
COPY (SELECT * FROM labelaudit_issues ORDER BY dataset, version, "rank") TO 's3://audit-tables/issues/issues.parquet';
