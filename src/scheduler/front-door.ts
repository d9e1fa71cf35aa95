// The scheduler's port before anything is said: how many connections may stand there in silence, and what becomes of
// those that speak neither TLS nor HTTP. A connection counts from its first packet until its first whole request; its
// time for that is limited by the server itself (handshakeTimeout, headersTimeout).
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { errnoOf } from '../base/fault.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import { addressGroup } from './address-group.ts';

/** Connections that have not asked for anything yet; above it new ones are dropped. */
export const MAX_SILENT = 4096;
/** The same of one address. Ten thousand agents behind one address come back within a minute with far fewer. */
export const MAX_SILENT_PER_ADDRESS = 1024;

/** Answers by the code of Node's parser; anything else is 400. */
const answers: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

const ownLimits = { silent: MAX_SILENT, silentPerAddress: MAX_SILENT_PER_ADDRESS };

/** Puts the limits in front of a server, with or without TLS. */
export function keepDoor(server: Server, refusals: RefusalLog, limits = ownLimits): void {
  /** By address and port of the peer, which are the same below and above TLS. */
  const silent = new Map<string, Socket>();
  const byGroup = new Map<string, number>();

  function leave(key: string, group: string): void {
    if (!silent.delete(key)) return;
    const rest = (byGroup.get(group) ?? 1) - 1;
    if (rest === 0) byGroup.delete(group);
    else byGroup.set(group, rest);
  }

  function spoke({ remoteAddress = '', remotePort = 0 }: Socket): void {
    leave(`${remoteAddress} ${remotePort}`, addressGroup(remoteAddress));
  }

  server.on('connection', (socket: Socket) => {
    // https.Server raises this once more for the TLS socket above the one that was counted.
    if (socket instanceof TLSSocket) return;
    const { remoteAddress: address = '', remotePort = 0 } = socket;
    const group = addressGroup(address);
    const ofGroup = byGroup.get(group) ?? 0;
    if (silent.size >= limits.silent || ofGroup >= limits.silentPerAddress) {
      refusals.refused({ address }, 'too many connections say nothing');
      socket.destroy();
      return;
    }
    const key = `${address} ${remotePort}`;
    silent.set(key, socket);
    byGroup.set(group, ofGroup + 1);
    socket.once('close', () => leave(key, group));
  });
  // The server knows nothing of connections that are still at their handshake, and would wait for them at its end.
  const closeKnown = server.closeAllConnections.bind(server);
  server.closeAllConnections = () => {
    closeKnown();
    for (const socket of silent.values()) socket.destroy();
  };
  // Before the listeners that answer.
  server.prependListener('request', (request) => spoke(request.socket));
  server.prependListener('upgrade', (request) => spoke(request.socket));
  server.on('clientError', (error, socket) => {
    const code = errnoOf(error) ?? 'unknown';
    const plain = socket as Socket;
    if (code === 'ECONNRESET' || !plain.writable) {
      plain.destroy();
      return;
    }
    // Whoever leaves in the middle of a request has said nothing that is wrong.
    if (code !== 'HPE_INVALID_EOF_STATE')
      refusals.refused(
        { address: plain.remoteAddress, code },
        'a connection speaks no HTTP that is taken here',
      );
    plain.end(
      `HTTP/1.1 ${answers[code] ?? '400 Bad Request'}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      () => plain.destroy(),
    );
  });
  // The one that Node puts there would make a clientError of it.
  server.removeAllListeners('tlsClientError');
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    // Its handshake did not come to an end: there is nothing that could be answered.
    const code = errnoOf(error) ?? 'unknown';
    if (code !== 'ECONNRESET')
      refusals.refused({ address: socket.remoteAddress, code }, 'TLS handshake refused');
    socket.destroy();
  });
}
