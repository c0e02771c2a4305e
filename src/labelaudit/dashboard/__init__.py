"""The dashboard: all audits below a URL, and deciding in place. The only importer of streamlit and duckdb."""
