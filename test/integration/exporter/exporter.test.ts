import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createAgentMetrics } from '../../../src/exporter/agent-metrics.ts';
import { type Exporter, type ExporterOptions, startExporter } from '../../../src/exporter/exporter.ts';
import type { Window } from '../../../src/protocol/columns.ts';
import { sampleFleet } from '../../fakes/fleet.ts';
import { inventory } from '../../unit/protocol/messages.ts';
import { column, makeWindow } from '../../unit/protocol/windows.ts';

const closing: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function start(changes: Partial<ExporterOptions> = {}): Promise<Exporter> {
  const exporter = await startExporter({
    listen: { host: '127.0.0.1', port: 0 },
    latest: () => makeWindow([column('cpu.load1')], [0.5], { endMs: Date.now() }),
    inventory: () => inventory,
    health: () => ({ live: true, ready: true, reason: 'connected to the scheduler', note: null }),
    metrics: createAgentMetrics({ version: '0.1.0' }),
    clock: createClock(),
    log: createSilentLog(),
    ...changes,
  });
  closing.push(() => exporter.close());
  return exporter;
}

/** Sends raw bytes and collects what comes until the other side closes. */
function talk(url: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = open(url);
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1');
    });
    socket.on('close', () => resolve(answer));
    socket.write(text);
  });
}

function open(url: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  closing.push(() => socket.destroy());
  return socket;
}

describe('the exporter of accelerators', () => {
  it('serves them in native names, and in those of other exporters under paths of their own', async () => {
    const fleet = sampleFleet('2xH100,2xAscend910B3');
    const window = { ...fleet.window, endMs: Date.now() };
    const devices = { records: fleet.records, heldBy: () => [] };
    const { url } = await start({ latest: () => window, devices: () => devices, version: '0.1.0' });
    const page = async (path: string) => (await fetch(`${url}${path}`)).text();
    const native = await page('/metrics');
    expect(native.match(/^accelerator_power_watts\{/gm)).toHaveLength(4);
    expect(native).not.toMatch(/DCGM_|npu_chip/);
    expect((await page('/metrics/dcgm')).match(/^DCGM_FI_DEV_POWER_USAGE\{.*Hostname=/gm)).toHaveLength(2);
    expect(await page('/metrics/dcgm?host-label=hostname')).toContain(',hostname="');
    expect(await page('/metrics/npu-exporter')).toMatch(/^machine_npu_nums 2$/m);
  });

  it('shows no number of a window that is too old', async () => {
    const { records, window } = sampleFleet('1xH100');
    const devices = { records, heldBy: () => [] };
    const { url } = await start({
      latest: () => ({ ...window, endMs: Date.now() - 60_000 }),
      devices: () => devices,
    });
    const text = await (await fetch(`${url}/metrics`)).text();
    expect(text).toContain('accelerator_info{');
    expect(text).not.toContain('accelerator_power_watts');
    expect(await (await fetch(`${url}/metrics/dcgm`)).text()).not.toContain('POWER_USAGE');
  });
});

describe('the exporter', () => {
  it('serves one page of inventory, host and agent in the text format of Prometheus', async () => {
    const { url } = await start();
    const response = await fetch(`${url}/metrics?x=1`);
    const text = await response.text();
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(text).toMatch(/^compute_node_info\{.*\} 1$/m);
    expect(text).toMatch(/^compute_node_cpu_load1 0.5$/m);
    expect(text).toMatch(/^flopd_agent_host_series_stale 0$/m);
    expect(text.endsWith('\n')).toBe(true);
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
    const head = await fetch(`${url}/metrics`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect(Number(head.headers.get('content-length'))).toBeGreaterThan(1000);
  });

  it('leaves the host out when its numbers are old or there are none, and says so', async () => {
    let window: Window | null = null;
    const { url } = await start({ latest: () => window });
    const page = async () => (await fetch(`${url}/metrics`)).text();
    expect(await page()).toMatch(/^flopd_agent_host_series_stale 1$/m);
    window = makeWindow([column('cpu.load1')], [0.5], { endMs: Date.now() - 5500 });
    const old = await page();
    expect(old).toMatch(/^flopd_agent_host_series_stale 1$/m);
    expect(old).not.toMatch(/cpu_load1|sample_timestamp/);
    expect(old).toMatch(/compute_node_info/);
    window = { ...window, endMs: Date.now() - 4000 };
    expect(await page()).toMatch(/^compute_node_cpu_load1 0.5$/m);
    window = { ...window, endMs: Date.now() - 20_000, durationMs: 10_000 };
    expect(await page()).toMatch(/^compute_node_cpu_load1 0.5$/m);
  });

  it('tells health and readiness by status and one sentence', async () => {
    let health = { live: true, ready: false, reason: 'not connected:\nretrying in 3 s', note: null };
    const { url } = await start({ health: () => health });
    const ask = async (path: string) => {
      const response = await fetch(`${url}${path}`);
      return [response.status, await response.text()];
    };
    expect(await ask('/healthz')).toEqual([200, 'ok\n']);
    expect(await ask('/readyz')).toEqual([503, 'not connected: retrying in 3 s\n']);
    health = { live: true, ready: true, reason: 'all is well', note: null };
    expect(await ask('/readyz')).toEqual([200, 'all is well\n']);
    health = { live: false, ready: true, reason: 'no window for 12 s', note: null };
    expect(await ask('/healthz')).toEqual([503, 'no window for 12 s\n']);
    expect(await ask('/readyz')).toEqual([503, 'no window for 12 s\n']);
  });

  it('serves the page at its bare address too, which is what the ready file names', async () => {
    const { url } = await start();
    const text = await (await fetch(url)).text();
    expect(text).toContain('flopd_agent_build_info');
    expect(text).toContain('# TYPE');
  });

  it('answers 404 to other paths, 405 to other methods without waiting for their bodies', async () => {
    const { url } = await start();
    for (const path of ['/metrics/', '/metrics/../etc/passwd', '/healthz?/metrics', '//metrics']) {
      expect((await fetch(`${url}${path}`)).status, path).toBe(path.startsWith('/healthz') ? 200 : 404);
    }
    const answer = await talk(url, 'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc');
    expect(answer).toMatch(/^HTTP\/1\.1 405 /);
    expect(answer).toMatch(/^allow: GET, HEAD\r$/im);
  });

  it('survives garbage, too many headers and silent sockets', async () => {
    const { url } = await start({ requestTimeoutMs: 300 });
    expect(await talk(url, '\0\u0001garbage\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
    expect(await talk(url, `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
    const started = performance.now();
    await talk(url, 'GET /metrics HTTP/1.1\r\nHost');
    await talk(url, '');
    expect(performance.now() - started).toBeLessThan(5000);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  it('holds no more than its share of sockets', async () => {
    const { url } = await start();
    const sockets = Array.from({ length: 80 }, () => open(url));
    const cut = await Promise.all(
      sockets.slice(64).map((socket) => new Promise((resolve) => socket.once('close', () => resolve(true)))),
    );
    expect(cut).toHaveLength(16);
    for (const socket of sockets) socket.destroy();
    await expect
      .poll(() =>
        fetch(`${url}/healthz`).then(
          ({ status }) => status,
          () => 0,
        ),
      )
      .toBe(200);
  });

  it('names the key and the remedy when its address is taken or not its own', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    closing.push(() => other.close());
    const { port } = other.address() as AddressInfo;
    const taken = start({ listen: { host: '127.0.0.1', port } });
    await expect(taken).rejects.toMatchObject({
      code: 'EXPORTER_ADDRESS_IN_USE',
      field: 'metricsListen',
      remedy: expect.stringContaining('--metrics-listen'),
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    await expect(start({ listen: { host: '192.0.2.1', port: 0 } })).rejects.toMatchObject({
      code: 'EXPORTER_ADDRESS_UNKNOWN',
    });
  });

  it('answers 500-less when a source fails: the socket closes and the next answer is right', async () => {
    let fails = true;
    const { url } = await start({
      inventory() {
        if (fails) throw new Error('broken');
        return inventory;
      },
    });
    await expect(fetch(`${url}/metrics`)).rejects.toThrow();
    fails = false;
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
  });

  it('closes at once, with sockets open', async () => {
    const exporter = await start();
    const socket = open(exporter.url);
    await new Promise((resolve) => socket.once('connect', resolve));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await exporter.close();
    await closed;
    await expect(fetch(exporter.url)).rejects.toThrow();
  });
});
