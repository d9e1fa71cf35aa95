import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentUrl, type Bed, createBed, type Daemon, root, until } from './bed.ts';
import { parsePage } from './exposition.ts';

/** The unpacked package, else what is installed, else null. */
function findProgram(name: string): string | null {
  const own = join(root, 'test/.cache/prometheus/usr/bin', name);
  if (existsSync(own)) return own;
  const found = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim();
  return found === '' ? null : found;
}

/** The TCP port on which a process listens, once it does. */
function portOf(pid: number): number | null {
  const own = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      own.add(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? '');
    } catch {
      // Closed meanwhile.
    }
  }
  for (const line of readFileSync(`/proc/${pid}/net/tcp`, 'utf8').split('\n').slice(1)) {
    const field = line.trim().split(/\s+/);
    if (field[3] === '0A' && own.has(field[9] ?? '-'))
      return Number.parseInt(field[1]?.split(':')[1] ?? '', 16);
  }
  return null;
}

const promtool = findProgram('promtool');
const prometheus = findProgram('prometheus');
let bed: Bed;
let up: Daemon;
beforeAll(async () => {
  bed = createBed();
  up = await bed.start(['up']);
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
  await until('a window on the page', async () =>
    (await (await fetch(agentUrl(up, 'metrics'))).text()).includes('compute_node_cpu_seconds_total'),
  );
});
afterAll(() => bed.close());

const pages = (): [name: string, url: string][] => [
  ['agent', agentUrl(up, 'metrics')],
  ['scheduler', `${up.endpoint.url}/metrics`],
];

describe('the Prometheus pages', () => {
  test.skipIf(promtool === null)('pass promtool check metrics without a warning', async () => {
    for (const [name, url] of pages()) {
      const text = await (await fetch(url)).text();
      const { status, stdout, stderr } = spawnSync(promtool ?? '', ['check', 'metrics'], {
        input: text,
        encoding: 'utf8',
      });
      expect({ name, status, stdout, stderr }).toEqual({ name, status: 0, stdout: '', stderr: '' });
    }
  });

  test('are text of version 0.0.4, without a value that is no number, and with help and type for each metric', async () => {
    for (const [name, url] of pages()) {
      const response = await fetch(url);
      expect(response.headers.get('content-type'), name).toMatch(/^text\/plain; ?version=0\.0\.4/);
      const text = await response.text();
      const page = parsePage(text);
      expect(page.size, name).toBeGreaterThan(5);
      for (const [series, value] of page) expect(Number.isNaN(value), series).toBe(false);
      for (const series of page.keys()) {
        const metric = series.replace(/\{.*/s, '').replace(/_(?:bucket|sum|count)$/, '');
        const named =
          text.includes(`# TYPE ${metric} `) || text.includes(`# TYPE ${series.replace(/\{.*/s, '')} `);
        expect(named, series).toBe(true);
      }
    }
  });

  test('healthz and readyz of both answer 200', async () => {
    for (const base of [agentUrl(up, ''), up.endpoint.url])
      for (const path of ['healthz', 'readyz'])
        expect((await fetch(new URL(path, base))).status, `${base}/${path}`).toBe(200);
  });

  test.skipIf(prometheus === null)(
    'are scraped by a real Prometheus, which finds both up and the host figures in them',
    async () => {
      const data = join(bed.folder, 'prometheus');
      mkdirSync(data);
      const targets = pages().map(
        ([name, url]) => `  - job_name: ${name}\n    static_configs: [{ targets: ['${new URL(url).host}'] }]`,
      );
      writeFileSync(
        join(data, 'prometheus.yml'),
        `global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n${targets.join('\n')}\n`,
      );
      const server = spawn(
        prometheus ?? '',
        [
          `--config.file=${join(data, 'prometheus.yml')}`,
          `--storage.tsdb.path=${join(data, 'tsdb')}`,
          '--web.listen-address=127.0.0.1:0',
        ],
        { stdio: 'ignore', cwd: data },
      );
      let port: number | null = null;
      const query = async (
        expression: string,
      ): Promise<{ metric: Record<string, string>; value: [number, string] }[]> => {
        const answer = await fetch(
          `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`,
        ).catch(() => null);
        return answer?.ok ? ((await answer.json()) as { data: { result: never[] } }).data.result : [];
      };
      try {
        port = await until('that Prometheus listens', () => portOf(server.pid ?? 0));
        const ups = await until(
          'both targets',
          async () => {
            const found = await query('up');
            return found.length === 2 && found.every(({ value }) => value[1] === '1') && found;
          },
          60_000,
        );
        expect(ups.map(({ metric }) => metric.job).sort()).toEqual(['agent', 'scheduler']);
        // All modes together add up to the machine's threads, once there are enough scrapes to extrapolate from.
        await until(
          'a rate of as many CPU seconds per second as there are threads',
          async () => {
            const [share] = await query(
              'sum(rate(compute_node_cpu_seconds_total[10s])) / sum(compute_node_cpu_threads)',
            );
            const value = Number(share?.value[1]);
            return value > 0.7 && value < 1.3;
          },
          60_000,
        );
      } finally {
        server.kill('SIGKILL');
      }
    },
  );
});
