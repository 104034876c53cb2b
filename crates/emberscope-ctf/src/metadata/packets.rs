//! Metadata in packets (CTF 1.8, section 7.1).

use super::ByteOrder;
use crate::error::Fault;

const MAGIC: u32 = 0x75d1_1d57;
const HEADER_BYTES: usize = 37;

/// The text of metadata, and the order of bytes that its packets show.
pub(super) fn text(bytes: &[u8]) -> Result<(String, Option<ByteOrder>), Fault> {
    let order = match bytes.first_chunk::<4>() {
        Some(first) if u32::from_le_bytes(*first) == MAGIC => ByteOrder::Little,
        Some(first) if u32::from_be_bytes(*first) == MAGIC => ByteOrder::Big,
        _ => {
            let text = std::str::from_utf8(bytes)
                .map_err(|error| Fault::new(error.valid_up_to(), "neither text nor packets of metadata"))?;
            return Ok((text.to_owned(), None));
        }
    };
    let mut content = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let packet = &bytes[at..];
        let word = |offset: usize| -> Option<u32> {
            let word = *packet.get(offset..)?.first_chunk::<4>()?;
            Some(if order == ByteOrder::Little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
        };
        if word(0) != Some(MAGIC) {
            return Err(Fault::new(at, "no magic number where a packet of metadata begins"));
        }
        let (Some(content_bits), Some(packet_bits), true) = (word(24), word(28), packet.len() >= HEADER_BYTES) else {
            return Err(Fault::new(at, "a packet of metadata is cut within its header"));
        };
        let coded = packet.get(32..35).unwrap_or_default();
        if coded.iter().any(|&scheme| scheme != 0) {
            return Err(Fault::new(at + 32, "compressed, encrypted or checksummed metadata are not supported"));
        }
        if let Some([major, minor]) = packet.get(35..HEADER_BYTES).filter(|version| *version != [1, 8]) {
            return Err(Fault::new(at + 35, format!("metadata of CTF {major}.{minor} in packets are not supported")));
        }
        let (content_bytes, packet_bytes) = (content_bits as usize / 8, packet_bits as usize / 8);
        if content_bytes < HEADER_BYTES || packet_bytes < content_bytes {
            return Err(Fault::new(at + 24, "a packet of metadata with impossible sizes"));
        }
        let text = packet.get(HEADER_BYTES..content_bytes);
        content.extend_from_slice(text.ok_or_else(|| Fault::new(at, "a packet of metadata is longer than the file"))?);
        at = at.saturating_add(packet_bytes);
    }
    let text = String::from_utf8(content)
        .map_err(|error| Fault::new(error.utf8_error().valid_up_to(), "packets of metadata hold what is no text"))?;
    Ok((text, Some(order)))
}
