// What a packet capture (pcap, Ethernet, IPv4) says about TCP connections and the TLS in them.

export interface Packet {
  readonly atMs: number;
  readonly from: string;
  readonly to: string;
  readonly isSyn: boolean;
  readonly sequence: number;
  readonly bytes: Buffer;
}

const PCAP_HEAD = 24;
const PACKET_HEAD = 16;
const ETHERNET_HEAD = 14;
const SYN = 0x02;
const ACK = 0x10;

export function readPackets(pcap: Buffer): readonly Packet[] {
  if (pcap.readUInt32LE(0) !== 0xa1b2c3d4) throw new Error('not a pcap file of this byte order');
  const packets: Packet[] = [];
  for (let at = PCAP_HEAD; at + PACKET_HEAD <= pcap.length; ) {
    const atMs = pcap.readUInt32LE(at) * 1000 + pcap.readUInt32LE(at + 4) / 1000;
    const length = pcap.readUInt32LE(at + 8);
    const frame = pcap.subarray(at + PACKET_HEAD, at + PACKET_HEAD + length);
    at += PACKET_HEAD + length;
    const packet = frame.readUInt16BE(12) === 0x0800 ? readTcp(frame.subarray(ETHERNET_HEAD), atMs) : null;
    if (packet !== null) packets.push(packet);
  }
  return packets;
}

function readTcp(ip: Buffer, atMs: number): Packet | null {
  if (ip.readUInt8(9) !== 6) return null;
  const ipHead = (ip.readUInt8(0) & 0x0f) * 4;
  const tcp = ip.subarray(ipHead, ip.readUInt16BE(2));
  const address = (offset: number): string => [...ip.subarray(offset, offset + 4)].join('.');
  const flags = tcp.readUInt8(13);
  return {
    atMs,
    from: `${address(12)}:${tcp.readUInt16BE(0)}`,
    to: `${address(16)}:${tcp.readUInt16BE(2)}`,
    isSyn: (flags & (SYN | ACK)) === SYN,
    sequence: tcp.readUInt32BE(4),
    bytes: tcp.subarray((tcp.readUInt8(12) >> 4) * 4),
  };
}

/** The bytes that went one way, in order; sequence numbers are taken to start near zero of a young connection. */
export function streamOf(packets: readonly Packet[], from: string): Buffer {
  const mine = packets.filter((packet) => packet.from === from && packet.bytes.length > 0);
  const base = packets.find((packet) => packet.from === from)?.sequence ?? 0;
  const pieces = new Map(mine.map(({ sequence, bytes }) => [(sequence - base) >>> 0, bytes]));
  return Buffer.concat([...pieces].sort(([a], [b]) => a - b).map(([, bytes]) => bytes));
}

export interface TlsRecord {
  /** 20 change cipher spec, 21 alert, 22 handshake, 23 application data. */
  readonly type: number;
  readonly bytes: Buffer;
}

export function readRecords(stream: Buffer): readonly TlsRecord[] {
  const records: TlsRecord[] = [];
  for (let at = 0; at + 5 <= stream.length; ) {
    const type = stream.readUInt8(at);
    if (type < 20 || type > 23 || stream.readUInt8(at + 1) !== 3) throw new Error(`no TLS at ${at}`);
    const length = stream.readUInt16BE(at + 3);
    records.push({ type, bytes: stream.subarray(at + 5, at + 5 + length) });
    at += 5 + length;
  }
  return records;
}

/** The version in a ServerHello: that of its extension `supported_versions` where there is one (0x0304: TLS 1.3). */
export function serverVersion(records: readonly TlsRecord[]): number {
  const hello = records.find(({ type, bytes }) => type === 22 && bytes[0] === 2)?.bytes;
  if (hello === undefined) throw new Error('no ServerHello');
  // Type and length, version, random, session id, cipher suite, compression.
  const session = 4 + 2 + 32;
  let at = session + 1 + hello.readUInt8(session) + 2 + 1;
  const end = at + 2 + hello.readUInt16BE(at);
  for (at += 2; at + 4 <= end; at += 4 + hello.readUInt16BE(at + 2))
    if (hello.readUInt16BE(at) === 43) return hello.readUInt16BE(at + 4);
  return hello.readUInt16BE(4);
}
