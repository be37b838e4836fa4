//! Cuts what comes from the broker into packets. The codec is the MQTT library's; its event loop is
//! not used, since it writes one acknowledgement for many messages that it reads.
//!
//! Whatever the bytes are, the answer is a packet, that more is needed, or an error.

use anyhow::{Result, bail, ensure};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{Packet, PacketType, check};

/// Bytes. The broker's own bound is lower.
pub(super) const LARGEST_PACKET: u32 = 512 * 1024;
/// Bytes that are read at once, about.
const CHUNK: usize = 64 * 1024;

/// What was read and not yet taken out.
#[derive(Debug, Default)]
pub(super) struct Packets {
    buffer: BytesMut,
}

impl Packets {
    /// Where the next bytes belong.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * CHUNK {
            // A large packet is gone, and so shall its room be.
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(CHUNK);
        &mut self.buffer
    }

    /// The next packet, when it is here as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Packet>> {
        let header = match check(self.buffer.iter(), Some(LARGEST_PACKET)) {
            Ok(header) => header,
            Err(Error::InsufficientBytes(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match header.packet_type()? {
            PacketType::ConnAck | PacketType::Publish | PacketType::SubAck => {}
            // A byte behind its header would be read by nobody.
            PacketType::PingResp => ensure!(header.frame_length() == 2, "a malformed answer"),
            PacketType::Disconnect => bail!("the broker ended the connection"),
            other => bail!("the broker sent a {other:?}, which nobody asked for"),
        }
        // It is whole: an error that asks for more bytes is an error all the same.
        Ok(Some(Packet::read(&mut self.buffer, Some(LARGEST_PACKET))?))
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, PingResp, PubAck, Publish};

    use super::*;

    fn message(number: u16) -> Packet {
        let payload = vec![7; usize::from(number) * 100];
        let mut message = Publish::new("shellies/a/b", QoS::AtLeastOnce, payload, None);
        message.pkid = number;
        Packet::Publish(message)
    }

    fn bytes(packets: &[Packet]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for packet in packets {
            packet.write(&mut out, None).unwrap();
        }
        out.to_vec()
    }

    /// All packets of these bytes, read in pieces.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Packet>> {
        let (mut packets, mut all) = (Packets::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            packets.room().extend_from_slice(piece);
            while let Some(packet) = packets.next()? {
                all.push(packet);
            }
        }
        Ok(all)
    }

    fn some() -> Vec<Packet> {
        let welcome = ConnAck {
            session_present: true,
            code: ConnectReturnCode::Success,
            properties: None,
        };
        let mut all = vec![Packet::ConnAck(welcome), Packet::PingResp(PingResp)];
        all.extend((1..60).map(message));
        all
    }

    #[test]
    fn packets_are_whole_however_they_were_cut() {
        let bytes = bytes(&some());
        for piece in [1, 2, 3, 1000, bytes.len()] {
            assert_eq!(read(&bytes, piece).unwrap(), some());
        }
    }

    #[test]
    fn what_nobody_asked_for_is_an_error() {
        let answer = Packet::PubAck(PubAck::new(1, None));
        assert!(read(&bytes(&[answer]), 100).is_err());
        assert!(read(&[0xe0, 0], 100).is_err());
        // Larger than any, and known by its head alone.
        assert!(read(&[0x30, 0xff, 0xff, 0xff, 0x7f], 5).is_err());
        // A whole packet whose properties are longer than itself.
        assert!(read(&[0x30, 4, 0, 1, b'a', 0xff], 6).is_err());
    }

    #[test]
    fn hostile_bytes_end_the_connection_and_nothing_else() {
        let good = bytes(&some());
        let mut random = 1_u64;
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(random >> 33).unwrap()
        };
        let mut refused = 0;
        for _ in 0..20_000 {
            let from = next() % good.len();
            let mut bytes = good
                .get(from..(from + 400).min(good.len()))
                .unwrap()
                .to_vec();
            for _ in 0..next() % 4 {
                let place = next() % bytes.len();
                bytes[place] = u8::try_from(next() % 256).unwrap();
            }
            refused += u32::from(read(&bytes, 64).is_err());
        }
        assert!(refused > 1000, "{refused}");
    }
}
