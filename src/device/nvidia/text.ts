// The front door for what nvidia-smi prints as text, in whichever form it came; and its ways of saying that it cannot.
import { Fault } from '../../base/fault.ts';
import type { ToolReading } from '../accelerator.ts';
import { layoutFault } from '../reading.ts';
import { isAppList, readingsOfApps } from './apps.ts';
import { isCsv, readingsOfCsv } from './csv.ts';
import { isList, readingsOfList } from './list.ts';
import { readingsOfLog } from './log.ts';
import { isMonitor, readingsOfMonitor } from './monitor.ts';
import { isTable, readingsOfTable } from './table.ts';
import { isLinkState, isTopology, readingsOfLinkState, readingsOfTopology } from './topology.ts';
import { treeOfText } from './tree.ts';

/** Readings from any form but XML. Throws DEVICE_OUTPUT_UNKNOWN, or what `failureOf` finds. */
export function parseNvidiaText(text: string): ToolReading[] {
  if (/=NVSMI LOG=/.test(text)) return readingsOfLog(treeOfText(text), text);
  if (isTable(text)) return readingsOfTable(text);
  if (isLinkState(text)) return readingsOfLinkState(text);
  if (isList(text)) return readingsOfList(text);
  if (isAppList(text)) return readingsOfApps(text);
  if (isCsv(text)) return readingsOfCsv(text);
  if (isMonitor(text)) return readingsOfMonitor(text);
  if (isTopology(text)) return readingsOfTopology(text);
  const failure = failureOf(text, 0);
  if (failure !== null) throw failure;
  if (/^No devices were found/m.test(text)) return [];
  throw layoutFault('nvidia-smi', text);
}

const DRIVER_REMEDY = 'load the driver (modprobe nvidia), or boot the host after an update of it';

/** What went wrong, by the tool's words or its exit code (as its manual page lists them); null for nothing known. */
export function failureOf(text: string, exitCode: number): Fault | null {
  const said = (text.trim().split('\n')[0] ?? '').slice(0, 200).replace(/\.$/, '');
  if (
    /couldn't communicate with the NVIDIA driver|driver (?:is )?not loaded|couldn't find libnvidia-ml/i.test(
      text,
    ) ||
    exitCode === 9
  )
    return new Fault('DEVICE_DRIVER_LOST', said === '' ? 'the NVIDIA driver is not loaded' : said, {
      remedy: DRIVER_REMEDY,
    });
  if (/version mismatch/i.test(text) || exitCode === 18)
    return new Fault('DEVICE_DRIVER_LOST', said, { remedy: DRIVER_REMEDY });
  if (/insufficient permissions/i.test(text) || exitCode === 4)
    return new Fault('DEVICE_DENIED', said === '' ? 'nvidia-smi has no permission' : said, {
      remedy: 'give this user access to /dev/nvidia*',
    });
  if (/Unable to determine the device handle/i.test(text))
    return new Fault('DEVICE_TOOL_FAILED', said, {
      remedy: 'reset the device that it names, or boot the host',
    });
  if (/^(NVIDIA-SMI has failed|Failed to initialize NVML)/m.test(text))
    return new Fault('DEVICE_DRIVER_LOST', said, { remedy: DRIVER_REMEDY });
  return null;
}
