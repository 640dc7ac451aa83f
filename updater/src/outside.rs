//! The doors for fuzz targets to parsers of what others wrote, where those are private. Nothing here is
//! called by the updater.

/// What an API server says of the own Node object: lists, lines of a watch, refusals.
pub fn node_object(bytes: &[u8]) {
    crate::cluster::outside(bytes);
}
