"""The store, its layout, manifests and the local cache. The only room that imports fsspec."""
