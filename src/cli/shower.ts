// Puts a job's output where the user looks: the bytes as they are, or, on a terminal, made safe for it.
import type { Context } from './context.ts';
import { writeOut } from './output.ts';
import { createTerminalFilter, type TerminalFilter } from './terminal-filter.ts';

export interface Shower {
  write(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void>;
  /** Shows what was kept back, and ends colours. Never rejects: whoever looked may have gone. */
  end(): Promise<void>;
}

export function createShower(context: Context, raw: boolean): Shower {
  const filterOf = (stream: 'stdout' | 'stderr'): TerminalFilter | null =>
    !raw && context[stream].isTTY === true ? createTerminalFilter() : null;
  const filters = { stdout: filterOf('stdout'), stderr: filterOf('stderr') };
  return {
    write: (stream, bytes) => writeOut(context[stream], filters[stream]?.push(bytes) ?? bytes),
    async end() {
      for (const stream of ['stdout', 'stderr'] as const) {
        const left = filters[stream]?.end() ?? '';
        if (left !== '') await writeOut(context[stream], left).catch(() => {});
      }
    },
  };
}
