"""The `.edge` file: its bytes (layout), its types (manifest), who signed it, how it is written and opened (store)."""
