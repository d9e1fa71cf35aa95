// What ties a proof to the one TLS connection it is sent over (RFC 9266, `tls-exporter`): both ends of a connection
// get the same 32 bytes out of its secrets, and nobody in between can make two connections that agree.
import { TLSSocket } from 'node:tls';

const LABEL = 'EXPORTER-Channel-Binding';
const BINDING_BYTES = 32;

/** The binding of a connection, base64url; the empty text for one without TLS. Throws when it is closed already. */
export function channelBinding(socket: unknown): string {
  if (!(socket instanceof TLSSocket)) return '';
  return socket.exportKeyingMaterial(BINDING_BYTES, LABEL, Buffer.alloc(0)).toString('base64url');
}
