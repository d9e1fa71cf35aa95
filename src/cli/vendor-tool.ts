// The command-line tools of accelerator vendors, and whether they are here. Reading through them is not built yet.
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import type { Environment } from '../config/keys.ts';

/** Vendor (its one lowercase spelling) and tools, best first. */
export const vendorTools: Readonly<Record<string, readonly string[]>> = {
  nvidia: ['nvidia-smi'],
  ascend: ['npu-smi'],
  amd: ['amd-smi', 'rocm-smi'],
  cambricon: ['cnmon'],
  hygon: ['hy-smi'],
  mthreads: ['mthreads-gmi'],
  iluvatar: ['ixsmi'],
  metax: ['mx-smi'],
  enflame: ['efsmi'],
  intel: ['xpu-smi'],
};

/** Full path of a program on PATH, or null. */
export function findProgram(name: string, environment: Environment): string | null {
  for (const folder of (environment.PATH ?? '').split(delimiter)) {
    if (!isAbsolute(folder)) continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not in this folder.
    }
  }
  return null;
}

/** Tools that are here, by vendor. */
export function findVendorTools(environment: Environment): Map<string, string> {
  const found = new Map<string, string>();
  for (const [vendor, tools] of Object.entries(vendorTools)) {
    for (const tool of tools) {
      const path = findProgram(tool, environment);
      if (path !== null && !found.has(vendor)) found.set(vendor, path);
    }
  }
  return found;
}
