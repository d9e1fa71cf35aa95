// The accelerator checks of `flopd doctor`: are they found, can they be read, with which driver, are they well.
import type { Config } from '../config/config.ts';
import type { DeviceView } from '../protocol/device-view.ts';
import type { Context } from './context.ts';
import { deviceTitle, modelName } from './device-table.ts';
import type { Outcome } from './doctor-outcome.ts';
import type { LocalDevices } from './local-devices.ts';
import { openLocalHost } from './local-host.ts';
import { findVendorTools } from './vendor-tool.ts';

const WINDOW_MS = 300;
const SHOWN = 4;

const levels = {
  hardware: 'tested on hardware',
  captures: 'tested on recorded output',
  bestEffort: 'best effort',
} as const;

export async function checkAccelerators(context: Context, config: Config): Promise<Outcome> {
  const host = openLocalHost(context, {
    ...config,
    windowMs: WINDOW_MS,
    backend: config.devices.backend,
    peakFlops: config.node.peakFlops,
  });
  try {
    await host.next();
    return judgeAccelerators(await host.readDevices(), findVendorTools(context.environment));
  } finally {
    host.close();
  }
}

/** `tools`: vendor tools that are on PATH, by vendor. */
export function judgeAccelerators(
  { views, problems, backends }: LocalDevices,
  tools: ReadonlyMap<string, string>,
): Outcome {
  const found = groups(views).map(describeGroup);
  const empty = [...tools]
    .filter(([vendor]) => backends[vendor] != null && !views.some((view) => view.vendor === vendor))
    .map(
      ([vendor, path]) =>
        `${vendor}: ${path} is here (read by ${backends[vendor] ?? 'nothing'}) and shows no device`,
    );
  const ill = views.filter((view) => view.health === 'failed' || view.health === 'degraded');
  const unread = views.filter((view) => Object.values(view.absent).some((reason) => reason === 'denied'));
  const finding = [
    ...problems,
    ...found,
    ...empty,
    ...listed(
      ill,
      (view) => `${deviceTitle(view)} is ${view.health}: ${view.faults[0]?.text ?? 'it does not say why'}`,
    ),
    ...(unread.length === 0 ? [] : [`this user may not read some values of ${names(unread)}`]),
  ].join('; ');
  const remedies = [
    ...(problems.length === 0
      ? []
      : ['install the driver that fits the card, or remove the tool of a card that is not here']),
    ...(ill.length === 0 ? [] : [`see "flopd devices" and the faults of ${names(ill)}`]),
    ...(unread.length === 0 ? [] : ['run the agent as root, or let its user read the device files']),
    ...(empty.length === 0 ? [] : ['check that the driver is loaded and sees the card (dmesg, lspci)']),
  ];
  if (finding === '')
    return { status: 'note', finding: 'no vendor library or tool is here: none are expected', remedy: null };
  const [remedy = null] = remedies.length === 0 ? [] : [remedies.join('; ')];
  if (views.some(({ health }) => health === 'failed')) return { status: 'failure', finding, remedy };
  return remedy === null ? { status: 'ok', finding, remedy } : { status: 'warning', finding, remedy };
}

function groups(views: readonly DeviceView[]): DeviceView[][] {
  const byKind = new Map<string, DeviceView[]>();
  for (const view of views) {
    const key = JSON.stringify([view.vendor, view.name, view.backend, view.driverVersion]);
    byKind.set(key, [...(byKind.get(key) ?? []), view]);
  }
  return [...byKind.values()];
}

function describeGroup(group: readonly DeviceView[]): string {
  const [first] = group;
  if (first === undefined) return '';
  const { vendor, backend, driverVersion, level } = first;
  const driver = driverVersion === null ? 'driver unknown' : `driver ${driverVersion}`;
  const how = backend === 'simulated' ? 'simulated' : `${backend}, ${driver}, ${levels[level]}`;
  return `${group.length} × ${vendor} ${modelName(first)} (${how})`;
}

function listed(views: readonly DeviceView[], describe: (view: DeviceView) => string): string[] {
  const more = views.length - SHOWN;
  return [...views.slice(0, SHOWN).map(describe), ...(more > 0 ? [`${more} more are not well`] : [])];
}

function names(views: readonly DeviceView[]): string {
  const shown = views.slice(0, SHOWN).map((view) => deviceTitle(view));
  return views.length > SHOWN ? `${shown.join(', ')} and ${views.length - SHOWN} more` : shown.join(', ');
}
