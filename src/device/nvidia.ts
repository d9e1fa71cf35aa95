// NVIDIA: its tool, what its devices' state means for jobs, and what a job is given of them.
import { describeError, Fault } from '../base/fault.ts';
import type { DeviceGrant, DeviceReading, ToolReading, ToolRunner, Vendor } from './accelerator.ts';
import { judgeSignals } from './nvidia/judge.ts';
import { withMigList } from './nvidia/list.ts';
import { readingsOfLog } from './nvidia/log.ts';
import { failureOf, parseNvidiaText } from './nvidia/text.ts';
import { treeAt, treeOfXml } from './nvidia/tree.ts';
import { judgeEvent } from './nvidia/xid.ts';
import { layoutFault } from './reading.ts';

interface Answer {
  readonly exitCode: number;
  readonly stderr: string;
  /** What it printed, where that is no XML. */
  readonly raw: string | null;
  /** The XML as an object. */
  readonly data: unknown;
}

export const nvidia: Vendor = {
  name: 'nvidia',
  title: 'NVIDIA',
  level: 'captures',
  tools: ['nvidia-smi'],
  query,
  grant,
  // An id that no device has: an empty value hides all of them too, but some launchers take it for "not set".
  hidden: { CUDA_VISIBLE_DEVICES: 'NoDevFiles', NVIDIA_VISIBLE_DEVICES: 'void' },
  judgeEvent,
  judgeSignals,
};

async function query(tool: ToolRunner): Promise<ToolReading[]> {
  const { exitCode, stderr, raw, data } = parseAnswer(await tool.runScript('nvidia-query.js', []));
  const readings = data === null ? readText(`${raw ?? ''}`, stderr, exitCode) : readXml(data);
  if (!readings.some(({ parentId }) => parentId !== null)) return readings;
  // Only the list has the ids of MIG instances.
  try {
    return withMigList(readings, (await tool.run(['-L'])).stdout);
  } catch (error) {
    if (error instanceof Fault) return readings;
    throw new Error(describeError(error), { cause: error });
  }
}

function parseAnswer({
  stdout,
  stderr,
  exitCode,
}: {
  stdout: string;
  stderr: string;
  exitCode: number;
}): Answer {
  try {
    return JSON.parse(stdout) as Answer;
  } catch {
    const said = stderr.trim().split('\n')[0]?.slice(0, 200) ?? '';
    throw new Fault('DEVICE_TOOL_FAILED', `nvidia-smi could not be asked (exit code ${exitCode}): ${said}`);
  }
}

function readXml(data: unknown): ToolReading[] {
  const tree = treeOfXml(data);
  if (tree.length !== 1 || tree[0]?.key !== 'nvidia_smi_log')
    throw layoutFault('nvidia-smi', JSON.stringify(data) ?? '', 'XML of another kind');
  return readingsOfLog(treeAt(tree, 'nvidia_smi_log'), '<nvidia_smi_log>');
}

function readText(raw: string, stderr: string, exitCode: number): ToolReading[] {
  if (exitCode === 127) throw new Fault('DEVICE_TOOL_MISSING', 'nvidia-smi is gone');
  const failure = failureOf(`${raw}\n${stderr}`, exitCode);
  if (failure !== null && !/NVSMI LOG|\| *NVIDIA-SMI +\d/.test(raw)) throw failure;
  if (raw.trim() === '')
    throw new Fault('DEVICE_TOOL_FAILED', `nvidia-smi said nothing (exit code ${exitCode})`, {
      remedy: 'run it by hand and see what it says',
    });
  return parseNvidiaText(raw);
}

function grant(devices: readonly DeviceReading[]): DeviceGrant {
  const ids = devices.map(({ id }) => id).join(',');
  const numbers = new Set(devices.map(({ nodeNumber }) => nodeNumber).filter((one) => one !== null));
  return {
    environment: { CUDA_VISIBLE_DEVICES: ids, NVIDIA_VISIBLE_DEVICES: ids, CUDA_DEVICE_ORDER: 'PCI_BUS_ID' },
    deviceNodes: [
      ...[...numbers].map((one) => `/dev/nvidia${one}`),
      '/dev/nvidiactl',
      '/dev/nvidia-uvm',
      '/dev/nvidia-uvm-tools',
    ],
  };
}
