// An HTTP proxy that knows CONNECT alone, as a program: node connect-proxy.mjs HOST PORT. Writes `ready`, then a line
// per target that it was asked for.
import { createServer } from 'node:http';
import { connect } from 'node:net';

const [host, port] = process.argv.slice(2);
const server = createServer((_, response) => response.writeHead(405).end());
server.on('connect', (request, client, head) => {
  process.stdout.write(`${request.url}\n`);
  const { hostname, port: asked } = new URL(`tcp://${request.url}`);
  const far = connect(Number(asked), hostname, () => {
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    if (head.length > 0) far.write(head);
    far.pipe(client);
    client.pipe(far);
  });
  for (const [one, other] of [
    [far, client],
    [client, far],
  ]) {
    one.on('error', () => one.destroy());
    one.on('close', () => other.destroy());
  }
});
server.listen(Number(port), host, () => process.stdout.write('ready\n'));
