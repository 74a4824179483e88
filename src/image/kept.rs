//! Layers out of the cache as content.

use std::io;
use std::sync::Arc;

use super::Content;
use super::content::{Opens, Reach};
use crate::cache::Layer;

impl Content {
    /// The layer's compressed bytes, verified while they are read.
    pub fn packed(layer: Layer) -> Self {
        Self::Made(Arc::new(Packed(layer)))
    }

    /// The layer's uncompressed bytes, inflated and verified while they are read.
    pub fn plain(layer: Layer) -> Self {
        Self::Made(Arc::new(Plain(layer)))
    }
}

#[derive(Debug)]
struct Packed(Layer);

impl Opens for Packed {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn reach(&self) -> Reach {
        Reach::Here
    }

    fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(self.0.packed()))
    }
}

#[derive(Debug)]
struct Plain(Layer);

impl Opens for Plain {
    fn size(&self) -> u64 {
        self.0.plain_size
    }

    fn reach(&self) -> Reach {
        Reach::Here
    }

    fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(self.0.plain()))
    }
}
