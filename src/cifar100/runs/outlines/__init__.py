"""The structure of untrusted files of torch, read before torch reads them."""
