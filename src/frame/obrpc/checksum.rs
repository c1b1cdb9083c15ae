/// The checksum of a payload, as its header carries it: CRC-32C with the initial value zero and no
/// final inversion, which OceanBase calls crc64. That of nothing is zero.
pub fn checksum(payload: &[u8]) -> u64 {
    // The crate inverts the value at both ends, which the other two inversions undo.
    (!crc32c::crc32c_append(!0, payload)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors() {
        let counting: Vec<u8> = (0..=0x1f).collect();
        for (payload, sum) in [
            (&b""[..], 0),
            (b"a", 0x93ad_1061),
            (b"123456789", 0x58e3_fa20),
            (&[0; 32], 0),
            (&[0xff; 32], 0xe839_9de9),
            (&counting, 0xcc4c_4fe4),
        ] {
            assert_eq!(checksum(payload), sum, "{payload:x?}");
        }
    }

    /// The instruction and its table-driven stand-in take lengths apart differently.
    #[test]
    fn every_length_agrees_with_the_definition() {
        let payload: Vec<u8> = (0..3_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let mut by_bit = 0u32;
        for (len, &byte) in payload.iter().enumerate() {
            assert_eq!(checksum(&payload[..len]), u64::from(by_bit));
            by_bit ^= u32::from(byte);
            for _ in 0..8 {
                by_bit = by_bit >> 1 ^ if by_bit & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
    }
}
