//! Layers out of the cache as content.

use std::io;
use std::sync::Arc;

use super::Content;
use super::content::{Opens, Reach};
use crate::cache::Layer;

impl Content {
    /// The layer's compressed bytes, verified while they are read.
    pub fn packed(layer: Layer) -> Self {
        Self::Made(Arc::new(Kept { layer, form: Form::Packed }))
    }

    /// The layer's uncompressed bytes, inflated and verified while they are read.
    pub fn plain(layer: Layer) -> Self {
        Self::Made(Arc::new(Kept { layer, form: Form::Plain }))
    }
}

#[derive(Debug)]
struct Kept {
    layer: Layer,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Packed,
    Plain,
}

impl Opens for Kept {
    fn size(&self) -> u64 {
        match self.form {
            Form::Packed => self.layer.size,
            Form::Plain => self.layer.plain_size,
        }
    }

    fn reach(&self) -> Reach {
        Reach::Here
    }

    fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(match self.form {
            Form::Packed => Box::new(self.layer.packed()),
            Form::Plain => Box::new(self.layer.plain()),
        })
    }
}
