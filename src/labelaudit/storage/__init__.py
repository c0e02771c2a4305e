"""The store, its layout, manifests and the local cache. The only package that imports fsspec."""
