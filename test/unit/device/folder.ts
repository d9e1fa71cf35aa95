// A copy of the parts of /proc and /sys that a test needs, in a folder of its own.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach } from 'vitest';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

export function makeFolder(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-device-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

export interface Cpu {
  readonly threads: number;
  readonly vendor: string;
  readonly family?: number;
  readonly model?: number;
  readonly name?: string;
  readonly flags: string;
  readonly mhz?: number;
  readonly threadsPerCore?: number;
  readonly part?: string;
}

/** /proc/cpuinfo as x86 writes it, or Arm where there is a part. */
export function cpuinfo({
  threads,
  vendor,
  family,
  model,
  name,
  flags,
  mhz = 2000,
  threadsPerCore = 1,
  part,
}: Cpu): string {
  return Array.from({ length: threads }, (_, at) => {
    const lines =
      part === undefined
        ? [
            `vendor_id\t: ${vendor}`,
            `cpu family\t: ${family}`,
            `model\t\t: ${model}`,
            `model name\t: ${name ?? 'A CPU'}`,
            'microcode\t: 0x1',
            `cpu MHz\t\t: ${mhz.toFixed(3)}`,
            'physical id\t: 0',
            `core id\t\t: ${Math.floor(at / threadsPerCore)}`,
            `flags\t\t: ${flags}`,
          ]
        : [
            `Features\t: ${flags}`,
            `CPU implementer\t: ${vendor}`,
            'CPU architecture: 8',
            `CPU part\t: ${part}`,
            'CPU revision\t: 1',
          ];
    return [`processor\t: ${at}`, ...lines].join('\n');
  }).join('\n\n');
}
