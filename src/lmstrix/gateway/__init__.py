"""The server side: what runs here, or behind here, offered in the dialects that programs speak."""
