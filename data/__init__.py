"""Everything that knows a raw annotation format; each source is written as KINS json, which one builder reads."""
