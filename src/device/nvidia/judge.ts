// What the state of an NVIDIA device means for jobs: one catalogue for both backends, over raw signals by the names of
// native/vendor/vendor.h. Meanings are NVML's.
import type { DeviceNumbers, Finding } from '../accelerator.ts';
import { deviceLost } from '../roster.ts';

export type Signals = Readonly<Record<string, number>>;

/** nvmlDeviceGpuRecoveryAction_t. */
export const recoveryActions: readonly string[] = ['None', 'Reset', 'Reboot', 'Drain P2P', 'Drain and Reset'];
/** nvmlClocksEventReason…: bits that say that something is wrong, not that the clock is merely set. */
export const slowdown = { hwSlowdown: 0x8, hwThermal: 0x40, powerBrake: 0x80 } as const;
const FABRIC_NOT_STARTED = 1;
const FABRIC_IN_PROGRESS = 2;

export const deviceUnreadable: Finding = {
  code: 'device-unreadable',
  rung: 'noNewJobs',
  text: 'The tool cannot read the device (ERR!); its driver or the card may need a reset',
};

/** What it means that the tool has words for numbers: one sensor may fail, two at once are the device. */
export function judgeUnread({
  memoryTotalBytes,
  powerWatts,
  temperatureCelsius,
}: DeviceNumbers['values']): Finding[] {
  if (memoryTotalBytes === 'lost' || powerWatts === 'lost') return [deviceLost];
  return temperatureCelsius === 'error' && powerWatts === 'error' ? [deviceUnreadable] : [];
}

export function judgeSignals(signals: Signals): Finding[] {
  const findings: Finding[] = [];
  const add = (code: string, rung: Finding['rung'], text: string): void => {
    findings.push({ code, rung, text });
  };
  const isSet = (name: string): boolean => (signals[name] ?? 0) > 0;
  if (isSet('resetRequired'))
    add('reset-required', 'resetNeeded', 'The GPU requires a reset; reset it or boot the host');
  if (isSet('rowRemapFailed'))
    add(
      'row-remap-failed',
      'replace',
      'A memory row could not be remapped: no spare rows are left; replace the GPU',
    );
  if (isSet('rowRemapPending'))
    add(
      'row-remap-pending',
      'warn',
      'A memory row waits to be remapped; reset the GPU when its jobs are done',
    );
  if (isSet('pagesPending'))
    add('pages-pending', 'warn', 'Memory pages wait to be retired; reset the GPU when its jobs are done');
  if (isSet('eccUncorrectedVolatile'))
    add(
      'ecc-uncorrected',
      'warn',
      'Uncorrected memory errors since the driver was loaded; watch whether they grow',
    );
  addRecovery(signals.recoveryAction ?? 0, add);
  const throttle = signals.throttleReasons ?? 0;
  if ((throttle & slowdown.hwThermal) !== 0)
    add(
      'throttled-thermal',
      'warn',
      'The hardware holds the clock back for heat; check cooling and air flow',
    );
  // Drivers that tell no more than this have no bit for the cause.
  if ((throttle & slowdown.hwSlowdown) !== 0 && (throttle & (slowdown.hwThermal | slowdown.powerBrake)) === 0)
    add('throttled-hardware', 'warn', 'The hardware holds the clock back; check cooling and power supply');
  if ((throttle & slowdown.powerBrake) !== 0)
    add(
      'throttled-power-brake',
      'observe',
      'An external power brake holds the clock back; check the power supply',
    );
  const { fabricState, fabricStatus } = signals;
  if (fabricState === FABRIC_NOT_STARTED || fabricState === FABRIC_IN_PROGRESS)
    add('fabric-not-ready', 'noNewJobs', 'The NVLink fabric is not ready; check the fabric manager');
  else if (isSet('fabricStatus') && fabricState !== undefined && fabricState > FABRIC_IN_PROGRESS)
    add(
      'fabric-failed',
      'noNewJobs',
      `The NVLink fabric reports error ${fabricStatus}; check the fabric manager`,
    );
  // Links that nothing is wired to are down as well, so this is told and changes nothing.
  if (isSet('linksDown')) add('nvlink-down', 'observe', `${signals.linksDown} NVLink connections are down`);
  const { pcieWidth, pcieWidthMax } = signals;
  if (pcieWidth !== undefined && pcieWidthMax !== undefined && pcieWidth > 0 && pcieWidth < pcieWidthMax)
    add(
      'pcie-width',
      'observe',
      `PCIe runs with ${pcieWidth} of ${pcieWidthMax} lanes; reseat the card if jobs copy slowly`,
    );
  return findings;
}

function addRecovery(action: number, add: (code: string, rung: Finding['rung'], text: string) => void): void {
  if (action === 1) add('recovery-reset', 'resetNeeded', 'The driver asks for a reset of the GPU');
  if (action === 2) add('recovery-reboot', 'resetNeeded', 'The driver asks for a boot of the host');
  if (action === 3)
    add('recovery-drain', 'noNewJobs', 'The driver asks to drain peer-to-peer work from the GPU');
  if (action === 4)
    add('recovery-drain-reset', 'noNewJobs', 'The driver asks to drain the GPU and to reset it then');
  if (action > 4)
    add(
      'recovery-other',
      'warn',
      'The driver asks for an action that is not in our table; see "nvidia-smi -q"',
    );
}
