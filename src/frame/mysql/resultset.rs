use crate::wire::Writer;

/// A column of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDefinition<'a> {
    /// What the column is called.
    pub name: &'a [u8],
    /// The collation of its values; 63 for bytes.
    pub collation: u16,
    /// The longest value, in bytes.
    pub len_max: u32,
    /// The type, as in 0xFD for VARCHAR.
    pub kind: u8,
}

impl<'a> ColumnDefinition<'a> {
    /// A text column in utf8mb4.
    pub fn text(name: &'a [u8]) -> Self {
        Self {
            name,
            collation: COLLATION_UTF8MB4,
            len_max: TEXT_LEN_MAX,
            kind: KIND_VAR_STRING,
        }
    }

    /// Writes the payload of the packet that defines the column.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.lenenc_bytes(b"def");
        // Of no database and no table.
        writer.bytes(&[0, 0, 0]);
        writer.lenenc_bytes(self.name);
        writer.lenenc_bytes(self.name);
        writer.u8(FIXED_FIELDS_LEN);
        writer.u16_le(self.collation);
        writer.u32_le(self.len_max);
        writer.u8(self.kind);
        writer.u16_le(0);
        writer.u8(DECIMALS_DYNAMIC);
        writer.zeros(2);
    }
}

/// Writes the payload of a text row's packet; `None` is NULL.
pub fn write_text_row<'a>(
    writer: &mut Writer<'_>,
    values: impl IntoIterator<Item = Option<&'a [u8]>>,
) {
    for value in values {
        match value {
            Some(text) => writer.lenenc_bytes(text),
            None => writer.u8(NULL),
        }
    }
}

const COLLATION_UTF8MB4: u16 = 45;
const TEXT_LEN_MAX: u32 = 1_024;
const KIND_VAR_STRING: u8 = 0xfd;
const DECIMALS_DYNAMIC: u8 = 0x1f;
const FIXED_FIELDS_LEN: u8 = 12;
const NULL: u8 = 0xfb;
