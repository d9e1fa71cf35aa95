// A name server on loopback (UDP, RFC 1035) that says what a test wants: addresses, no such name, a failure, nothing.
import { createSocket } from 'node:dgram';
import type { AddressInfo } from 'node:net';

export type NameAnswer = readonly string[] | 'NXDOMAIN' | 'SERVFAIL' | 'silent';

export interface NameServer {
  /** `127.0.0.1:PORT`, as resolvers take it. */
  readonly address: string;
  /** Questions so far, as `name TYPE`. */
  readonly questions: string[];
  /** By name; addresses of version 4 and 6 may be mixed. Names that are not here are NXDOMAIN. */
  readonly names: Map<string, NameAnswer>;
  close(): Promise<void>;
}

const TYPE_A = 1;
const TYPE_AAAA = 28;

export async function startNameServer(): Promise<NameServer> {
  const socket = createSocket('udp4');
  const server: NameServer = {
    address: '',
    questions: [],
    names: new Map(),
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
  socket.on('message', (message, from) => {
    const { name, type, end } = readQuestion(message);
    server.questions.push(`${name} ${type === TYPE_A ? 'A' : 'AAAA'}`);
    const answer = server.names.get(name) ?? 'NXDOMAIN';
    if (answer === 'silent') return;
    socket.send(writeAnswer(message, end, type, answer), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return Object.assign(server, { address: `127.0.0.1:${(socket.address() as AddressInfo).port}` });
}

function readQuestion(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message.readUInt8(at); length !== 0; length = message.readUInt8(at)) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 };
}

function writeAnswer(
  question: Buffer,
  end: number,
  type: number,
  answer: Exclude<NameAnswer, 'silent'>,
): Buffer {
  const found = Array.isArray(answer)
    ? (answer as string[]).filter((one) => one.includes(':') === (type === TYPE_AAAA))
    : [];
  const head = Buffer.from(question.subarray(0, end));
  const code = answer === 'NXDOMAIN' ? 3 : answer === 'SERVFAIL' ? 2 : 0;
  head.writeUInt16BE(0x8180 | code, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(found.length, 6);
  head.writeUInt32BE(0, 8);
  const records = found.map((address) => {
    const data = address.includes(':') ? wide(address) : Buffer.from(address.split('.').map(Number));
    const record = Buffer.alloc(12);
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(60, 6);
    record.writeUInt16BE(data.length, 10);
    return Buffer.concat([record, data]);
  });
  return Buffer.concat([head, ...records]);
}

/** Only the short forms that tests use: `::1`, `2001:db8::7`. */
function wide(address: string): Buffer {
  const [left = '', right = ''] = address.split('::');
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((one) => Number.parseInt(one, 16));
  const head = words(left);
  const tail = words(right);
  const all = [...head, ...Array(8 - head.length - tail.length).fill(0), ...tail] as number[];
  const bytes = Buffer.alloc(16);
  for (const [at, word] of all.entries()) bytes.writeUInt16BE(word, at * 2);
  return bytes;
}
