//! ZooKeeper's serialisation: big-endian primitives, length-prefixed buffers, no tags.

mod read;
mod write;

pub mod frame;

pub use read::{DecodeError, Reader};
pub use write::Writer;

use bytes::Bytes;
use bytestring::ByteString;

/// A value with a jute encoding.
pub trait Jute: Sized {
    /// Reads one value.
    ///
    /// # Errors
    /// The bytes end early, or a length is out of range.
    fn read(r: &mut Reader) -> Result<Self, DecodeError>;
    /// Appends one value.
    fn write(&self, w: &mut Writer);
}

macro_rules! primitive {
    ($t:ty, $read:ident, $write:ident) => {
        impl Jute for $t {
            fn read(r: &mut Reader) -> Result<Self, DecodeError> {
                r.$read()
            }
            fn write(&self, w: &mut Writer) {
                w.$write(*self);
            }
        }
    };
}
primitive!(i32, int, int);
primitive!(i64, long, long);
primitive!(bool, boolean, boolean);

impl Jute for Option<Bytes> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.buffer()
    }
    fn write(&self, w: &mut Writer) {
        w.buffer(self.as_deref());
    }
}

impl Jute for Option<ByteString> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.ustring()
    }
    fn write(&self, w: &mut Writer) {
        w.buffer(self.as_ref().map(|s| s.as_bytes().as_ref()));
    }
}

/// A null string reads as an empty one: no request of ZooKeeper tells the two apart here.
impl Jute for ByteString {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(r.ustring()?.unwrap_or_default())
    }
    fn write(&self, w: &mut Writer) {
        w.buffer(Some(self.as_bytes().as_ref()));
    }
}

/// A null vector reads as an empty one.
impl<T: Jute> Jute for Vec<T> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let count = r.count()?;
        let mut items = Vec::with_capacity(r.capacity_for::<T>(count));
        for _ in 0..count {
            items.push(T::read(r)?);
        }
        Ok(items)
    }
    fn write(&self, w: &mut Writer) {
        w.int(self.len() as i32);
        for item in self {
            item.write(w);
        }
    }
}

/// Declares a record: its fields in wire order.
#[macro_export]
macro_rules! jute_record {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $t:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)] // the record's doc says what its fields are
        pub struct $name { $($(#[$fdoc])* pub $field: $t),* }
        impl $crate::jute::Jute for $name {
            #[allow(unused_variables)]
            fn read(r: &mut $crate::jute::Reader) -> Result<Self, $crate::jute::DecodeError> {
                $(let $field = <$t as $crate::jute::Jute>::read(r)?;)*
                Ok(Self { $($field),* })
            }
            #[allow(unused_variables)]
            fn write(&self, w: &mut $crate::jute::Writer) {
                $($crate::jute::Jute::write(&self.$field, w);)*
            }
        }
    )*};
}
