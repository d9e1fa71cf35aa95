// `flopd top`: a live view of this host, or with --scheduler of the network. Keys: q or Ctrl-C ends.
import { hostname } from 'node:os';
import type { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { parseSimulated } from '../device/simulated.ts';
import type { HostView } from '../protocol/api.ts';
import { createClient } from './client.ts';
import type { Context } from './context.ts';
import { totalsLines } from './device-table.ts';
import { findAccess } from './endpoint.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, clientKeys, readConfig } from './flags.ts';
import { openLocalHost } from './local-host.ts';
import { nodeColumns } from './node-table.ts';
import { pause, tableStyle, watchPeriodMs, writeOut } from './output.ts';
import { renderTable } from './table.ts';
import { renderFrame } from './top-frame.ts';

const ONCE_WINDOW_MS = 500;
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';

/** Gives the lines of the next frame each time. */
interface Scene {
  next(rows: number | null): Promise<string[]>;
  close(): void;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .option('--once', 'print one frame and leave')
    .option('--interval <DURATION>', 'time between frames', '1s');
  addConfigFlags(command, [...clientKeys, 'devices.backend', 'simulate', 'node.peakFlops']).addHelpText(
    'after',
    '\nKeys: q or Ctrl-C ends.',
  );
  command.action(async () => {
    const options = command.opts() as { once?: boolean; interval: string };
    const once = options.once === true;
    const periodMs = watchPeriodMs(options.interval) ?? 1000;
    const scene = await openScene(command, context, once ? Math.min(periodMs, ONCE_WINDOW_MS) : periodMs);
    try {
      if (once) await writeOut(context.stdout, `${(await scene.next(null)).join('\n')}\n`);
      else await play(context, scene);
    } finally {
      scene.close();
    }
    finish(exitCode.ok);
  });
}

async function openScene(command: Command, context: Context, periodMs: number): Promise<Scene> {
  const config = await readConfig(command, context);
  // A variable that names a scheduler for other verbs does not turn this host's view into another.
  return config.sources.scheduler.kind === 'flag'
    ? networkScene(context, createClient(await findAccess(config, context.environment)), periodMs)
    : hostScene(context, config, periodMs);
}

function hostScene(context: Context, { stateDir, simulate, devices, node }: Config, windowMs: number): Scene {
  if (simulate !== null) parseSimulated(simulate);
  const host = openLocalHost(context, {
    stateDir,
    windowMs,
    backend: devices.backend,
    simulate,
    peakFlops: node.peakFlops,
  });
  let previous: HostView | null = null;
  return {
    async next(rows) {
      // Rates need two readings.
      previous ??= await host.next();
      const present = await host.next();
      const { views, problems } = await host.readDevices();
      const lines = renderFrame({
        hostname: hostname(),
        previous,
        present,
        devices: views,
        style: tableStyle(context, 'table'),
        rows,
        problem: [host.problem, ...problems].filter((each) => each !== null).join('; ') || null,
      });
      previous = present;
      return lines;
    },
    close: () => host.close(),
  };
}

function networkScene(context: Context, client: ReturnType<typeof createClient>, periodMs: number): Scene {
  let first = true;
  return {
    async next(rows) {
      if (!first) await pause(periodMs);
      first = false;
      const { nodes, fleet } = await client.nodes();
      const style = tableStyle(context, 'table');
      const lines = [
        `${client.url}  ${new Date(context.clock.wallMs()).toISOString()}  ${nodes.length} nodes`,
        '',
        ...renderTable(nodeColumns(nodes), nodes, style),
        ...totalsLines(fleet, style.width, true),
      ];
      return rows === null ? lines : lines.slice(0, rows);
    },
    close() {},
  };
}

/** Frames until a key or a signal ends it. The terminal is as before afterwards, whatever happens. */
async function play(context: Context, scene: Scene): Promise<void> {
  const terminal = context.stdout.isTTY === true;
  let stop = (): void => {};
  const stopped = new Promise<null>((resolve) => (stop = () => resolve(null)));
  const restoreSignals = context.onSignal(['SIGINT', 'SIGTERM'], stop);
  const restoreKeys = terminal
    ? context.onKey((key) => {
        if (key === 'q' || key === 'Q' || key === '\u0003' || key === '\u0004') stop();
      })
    : null;
  let last: string[] = [];
  const draw = (lines: readonly string[]): Promise<void> =>
    terminal
      ? writeOut(context.stdout, `\u001b[H${lines.map((line) => `\u001b[K${line}`).join('\r\n')}\u001b[J`)
      : writeOut(context.stdout, `${lines.join('\n')}\n\n`);
  const redraw = (): void => void draw(last.slice(0, context.stdout.rows ?? last.length)).catch(stop);
  if (terminal) {
    await writeOut(context.stdout, ENTER);
    context.stdout.on('resize', redraw);
  }
  try {
    for (;;) {
      const lines = await Promise.race([
        scene.next(terminal ? (context.stdout.rows ?? null) : null),
        stopped,
      ]);
      if (lines === null) return;
      last = lines;
      await draw(lines);
    }
  } finally {
    context.stdout.off('resize', redraw);
    restoreKeys?.();
    restoreSignals();
    if (terminal) await writeOut(context.stdout, LEAVE).catch(() => {});
  }
}
