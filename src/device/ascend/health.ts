// The health of a chip, judged in one place for both backends: the tool's words and the native reader's signals become
// the same findings.
//
//   level 1, `Warning`   -> warn         level 2, `Alarm` -> noNewJobs        level 3, `Critical` -> stopJobs
//   error code           -> its class in error-codes.ts; one that is not listed there -> as its level, at least warn
//   network health       -> warn (0 well, 6 no target set and 8 address set are no faults)
//   links down           -> warn         clock reduced    -> observe
import type { Rung } from '../../protocol/device.ts';
import type { DeviceEvent, Finding } from '../accelerator.ts';
import { findChipError } from './error-codes.ts';

export interface AscendHealth {
  /** 0 well … 3 critical; null where it is not told. */
  readonly level: number | null;
  readonly codes: readonly number[];
  /** `dcmi_get_device_network_health`; null or absent where it is not told. */
  readonly networkHealth?: number | null;
  readonly linksDown?: number | null;
  /** Bits of the causes for which the AI cores are clocked down. */
  readonly clockReduction?: number | null;
}

const levels: Readonly<Record<number, { word: string; rung: Rung; advice: string }>> = {
  1: { word: 'warning', rung: 'warn', advice: 'a minor fault, work goes on' },
  2: { word: 'alarm', rung: 'noNewJobs', advice: 'a major fault, no new jobs' },
  3: { word: 'critical', rung: 'stopJobs', advice: 'a critical fault, jobs on it are stopped' },
};

const networkFaults: Readonly<Record<number, string>> = {
  1: 'its socket failed',
  2: 'receiving timed out',
  3: 'its target is unreachable',
  4: 'the hop limit was reached',
  5: 'a fault was found',
  7: 'its checking thread failed',
};

/** The level of a word in the table's column Health; null for one that says nothing (`UNKNOWN`, `NA`). */
export function levelOfWord(word: string): number | null {
  const level = ['ok', 'warning', 'alarm', 'critical'].indexOf(word.toLowerCase());
  return level === -1 ? null : level;
}

/** Codes in the field `Error Code` of `-t health`. */
export function codesOf(text: string): number[] {
  const codes = text.matchAll(/(?<![0-9a-z])(?:0x)?([0-9a-f]{8})(?![0-9a-z])/gi);
  return [...new Set([...codes].map((match) => Number.parseInt(match[1] ?? '', 16)))];
}

export function judgeAscend(health: AscendHealth): Finding[] {
  const findings: Finding[] = [];
  const level = health.level === null ? undefined : levels[health.level];
  if (level !== undefined)
    findings.push({
      code: `health-${level.word}`,
      rung: level.rung,
      text: `The chip reports ${level.word}: ${level.advice}.`,
    });
  for (const code of health.codes) findings.push(judgeCode(code, health.level));
  const network = networkFaults[health.networkHealth ?? 0];
  if (network !== undefined)
    findings.push({
      code: 'network-health',
      rung: 'warn',
      text: `The network port of the chip is not well: ${network}.`,
    });
  const down = health.linksDown ?? 0;
  if (down > 0)
    findings.push({ code: 'links-down', rung: 'warn', text: `${down} of the chip's links are down.` });
  if ((health.clockReduction ?? 0) > 0)
    findings.push({
      code: 'clock-reduced',
      rung: 'observe',
      text: 'The AI cores are clocked down, by power or temperature.',
    });
  return findings;
}

/** By its class; one that nobody has listed, by the level of the chip. */
function judgeCode(code: number, level: number | null): Finding {
  const hex = (code >>> 0).toString(16).toUpperCase().padStart(8, '0');
  const known = findChipError(code >>> 0);
  if (known !== null)
    return { code: `error-${hex}`, rung: known.rung, text: `Error 0x${hex} of the chip ${known.meaning}.` };
  return {
    code: `error-${hex}`,
    rung: levels[level ?? 0]?.rung ?? 'warn',
    text: `Error 0x${hex} of the chip is not in the list of known ones: judged by the level that it reports.`,
  };
}

/** Findings from the native reader (native/vendor/vendor.h). */
export function judgeSignals(signals: Readonly<Record<string, number>>, codes: readonly number[]): Finding[] {
  const { healthLevel = Number.NaN, networkHealth, linksDown, clockReduction } = signals;
  return judgeAscend({
    level: healthLevel >= 0 && healthLevel <= 3 ? healthLevel : null,
    codes,
    networkHealth: networkHealth ?? null,
    linksDown: linksDown ?? null,
    clockReduction: clockReduction ?? null,
  });
}

export function judgeEvent({ kind, code, count, detail }: DeviceEvent): Finding | null {
  switch (kind) {
    case 'fault':
      return judgeCode(code, null);
    case 'ecc':
      return {
        code: 'ecc-uncorrected',
        rung: 'warn',
        text: `${count} memory errors that could not be corrected${detail === null ? '' : `: ${detail.slice(0, 200)}`}.`,
      };
    case 'lost':
      return {
        code: 'device-lost',
        rung: 'resetNeeded',
        text: 'The chip does not answer any more: see the kernel log, reset it or restart the host.',
      };
    case 'xid':
    case 'returned':
      return null;
  }
}
