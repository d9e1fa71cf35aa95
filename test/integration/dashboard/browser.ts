// The dashboard's own files behind an API whose answers a test gives, opened in a real browser.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { JobView, NodeView } from '../../../src/protocol/api.ts';
import { totalsOfNodes } from '../../../src/scheduler/fleet-totals.ts';
import { answerJson, answerPage, pages } from '../../../src/scheduler/http.ts';
import { quietFlags } from '../../fakes/browser.ts';
import { sampleOverview } from '../../fakes/nodes.ts';

const dashboard = fileURLToPath(new URL('../../../src/dashboard', import.meta.url));
const DEADLINE_MS = 60_000;

export const chromium = spawnSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).stdout.trim();

export interface Shown {
  /** The page after its script has run for a while. */
  readonly dom: string;
  /** Its text alone. */
  readonly text: string;
  /** What the browser complained about. */
  readonly complaints: string;
}

/** Opens the page of these nodes, with a token or without; `picture` also writes a screenshot there. */
export async function openDashboard(
  nodes: readonly NodeView[],
  options: {
    readonly token?: boolean;
    readonly language?: string;
    readonly picture?: string;
    readonly size?: string;
    /** Nothing is shown without a token. */
    readonly shut?: boolean;
    /** A job whose output is shown. */
    readonly job?: { readonly view: JobView; readonly output: Record<'stdout' | 'stderr', Buffer> };
  } = {},
): Promise<Shown> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    const page = pages[path];
    if (page !== undefined)
      void answerPage(response, dashboard, page.file, page.type).catch(() => response.destroy());
    else if (options.shut === true && request.headers.authorization === undefined)
      answerJson(response, 401, { error: { code: 'API_UNAUTHENTICATED' } });
    else if (path === '/v1/me') answerJson(response, 200, { user: 'mei', role: 'operator' });
    else if (path === '/v1/overview') answerJson(response, 200, sampleOverview(nodes));
    else if (path === '/v1/nodes') answerJson(response, 200, { nodes, fleet: totalsOfNodes(nodes) });
    else if (path.endsWith('/output') && options.job !== undefined) {
      const query = new URL(request.url ?? '/', 'http://page').searchParams;
      const stream = query.get('stream') === 'stderr' ? 'stderr' : 'stdout';
      response.end(options.job.output[stream].subarray(Number(query.get('offset'))));
    } else answerJson(response, 200, { jobs: options.job === undefined ? [] : [options.job.view] });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const folder = mkdtempSync(join(tmpdir(), 'flopd-page-'));
  const { port } = server.address() as AddressInfo;
  const chosen = options.job === undefined ? '' : `&job=${options.job.view.id}`;
  const url = `http://127.0.0.1:${port}/${options.token === false ? '' : `#token=t${chosen}`}`;
  try {
    return await browse(url, folder, options);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function browse(
  url: string,
  folder: string,
  { language = 'en-US', picture, size = '1440,1000' }: { language?: string; picture?: string; size?: string },
): Promise<Shown> {
  const flags = [
    ...quietFlags,
    '--hide-scrollbars',
    `--user-data-dir=${folder}`,
    `--lang=${language}`,
    `--accept-lang=${language}`,
    `--window-size=${size}`,
    '--enable-logging=stderr',
    '--virtual-time-budget=4000',
    ...(picture === undefined ? ['--dump-dom'] : [`--screenshot=${picture}`]),
    url,
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(chromium, flags, {
      env: { PATH: process.env.PATH ?? '', HOME: folder, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    let dom = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      dom += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code !== 0) reject(new Error(`the browser ended with ${code}: ${errors}`));
      else
        resolve({
          dom,
          text: dom.replace(/<script[\s\S]*?<\/script>|<[^>]+>/g, ' ').replace(/\s+/g, ' '),
          complaints: errors
            .split('\n')
            .filter((line) => line.includes('CONSOLE'))
            .join('\n'),
        });
    });
  });
}
