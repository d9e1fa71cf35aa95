// A registry of container images on loopback: one image of one layer, under any name. Blobs can be held back, so that
// a pull lasts as long as a test wants it to.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Registry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Paths asked for, in order. */
  readonly asked: string[];
  /** From now on the layer is not sent until `release`. */
  hold(): void;
  release(): void;
  close(): Promise<void>;
}

interface Blob {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

function blobOf(bytes: Buffer, mediaType: string): Blob {
  return { bytes, mediaType, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` };
}

/** `layerTar`: the image's file system; `environment`: what its configuration brings. */
export async function createRegistry(layerTar: string, environment: readonly string[]): Promise<Registry> {
  const layer = blobOf(readFileSync(layerTar), 'application/vnd.oci.image.layer.v1.tar');
  const platform = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' };
  const config = blobOf(
    Buffer.from(
      JSON.stringify({
        ...platform,
        config: { Env: environment },
        rootfs: { type: 'layers', diff_ids: [layer.digest] },
      }),
    ),
    'application/vnd.oci.image.config.v1+json',
  );
  const describe = ({ bytes, mediaType, digest }: Blob) => ({ mediaType, digest, size: bytes.length });
  const manifest = blobOf(
    Buffer.from(JSON.stringify({ schemaVersion: 2, config: describe(config), layers: [describe(layer)] })),
    'application/vnd.oci.image.manifest.v1+json',
  );
  const asked: string[] = [];
  const waiting: (() => void)[] = [];
  let held = false;

  function send(response: ServerResponse, { bytes, mediaType, digest }: Blob, withBody: boolean): void {
    response.writeHead(200, {
      'Content-Type': mediaType,
      'Content-Length': bytes.length,
      'Docker-Content-Digest': digest,
    });
    response.end(withBody ? bytes : undefined);
  }

  const server = createServer((request, response) => {
    const path = request.url ?? '';
    asked.push(path);
    const withBody = request.method === 'GET';
    if (path === '/v2/') response.end('{}');
    else if (path.includes('/manifests/')) {
      if (path.includes('/missing/')) response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
      else send(response, manifest, withBody);
    } else if (path.endsWith(config.digest)) send(response, config, withBody);
    else if (path.endsWith(layer.digest)) {
      if (held) waiting.push(() => send(response, layer, withBody));
      else send(response, layer, withBody);
    } else response.writeHead(404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    hold() {
      held = true;
    },
    release() {
      held = false;
      for (const answer of waiting.splice(0)) answer();
    },
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
