"""The laws that every algorithm obeys, stated once and tested over the registry and over planted bugs."""
