// The kernel's id of the present boot: what a process id means is true for one boot only.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, Fault } from '../base/fault.ts';

/** Throws AGENT_BOOT_ID where there is none to read. */
export function readBootId(procRoot: string): string {
  const path = join(procRoot, 'sys/kernel/random/boot_id');
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (/^[0-9a-f-]{1,64}$/i.test(text)) return text;
    throw new Error('it holds no id');
  } catch (error) {
    throw new Fault('AGENT_BOOT_ID', `cannot read the boot id from ${path}: ${describeError(error)}`, {
      remedy: 'mount /proc, without which jobs cannot be told from strangers after a reboot',
      cause: error,
    });
  }
}
