"""D2S Amodal (D2SA) and COCOA-cls, written as KINS json."""
