// What the error codes of chips and of the driver mean for the ladder. The chip codes and the class of each are those
// that Huawei's own cluster manager (MindCluster, default fault configuration) acts on; the rung of a class is ours:
// not handled -> observe · restart of the request or the business -> stopJobs (the job is broken, the chip may be well)
// reset when the chip is free -> noNewJobs · reset -> resetNeeded · separate -> replace. A code in two classes has the
// worse one. A code that is not listed is judged by the health level of its chip (health.ts).
import { type Rung, rungs } from '../../protocol/device.ts';

// biome-ignore format: lists of numbers
const classes = [
  ['observe', 'needs nothing',
    `80E21007 80E38003 80F78006 80C98006 80CB8006 81318006 80A18006 80A18005 80FB8000 8C1F8609
     A214000D A414000D A4028801 A4025101 A2140007 A4140007 A2140008 A4140008 A40250E1 A214000A A414000A A4025061
     A4025041 A214000B A414000B A414000C A2140009 A4140009 A4303002 80B78006 80B78005 80E1800F 80DE0200 814D8006
     8C1F860B 8C1F8608 4C1F8608 819B8003 80DF8401 80DF8400 80818200 80818201 80818202 80818203 80818204 80818205
     80F38009 81A3880C 81AD8605 80E20207 81078605 80DE0207 8C2FA001 819B8605 80818C06 8C1F860A 80E18405`],
  ['stopJobs', 'breaks what runs on the chip: start it again',
    `80C98008 80C98002 80C98003 80C98009 80CB8002 80CB8008 80CB8009 80CF8003 81318008 80D58000 80D58009 80D98008
     80DB800A 80DB8000 80DD8000 80DD8003 80C98000 81AB800D 81AB8003 80BD8000 80BB8009 80BD8003 80BD8009 80BB8000
     80BB8003 80BB8008 80BB800A 81AB8008 80C9800A 80CB800A
     8C204E00 A8028802 A4302003 A4302004 A4302005 A4302006 A4302009 A430200A A6301002 B4060011 B406009C B4060008
     B4060009 B406000E A60250A1 A2301001 A2301002 A2303001 B4060006 B4060007 B406000D B4060014 B4060010 80E01801
     81B38009 81B38004`],
  ['noNewJobs', 'wants a reset once the chip is free',
    `8C0E4E00 8C104E00 8C0C4E00 8C044E00 8C064E00 8C17A005 8C1DA005 8C19A005 8C0A4E00 8C084E00 A4193217 A4193218
     A42A0000 A42F3917 A42F3918 8C464E00 8C124E00`],
  ['resetNeeded', 'needs a reset of the chip',
    `8C03A000 8C1FA006 40F84E00 80E24E00 80E21E01 80E38008 80E3A202 80E3A203 80E39200 819B800A 80E2120D 80E78000
     80E78008 80FA4E00 812E4E00 80C78008 80F78009 80F78008 80F78003 80E18404 80FB8005 80A18008 80CD8008 80A38008
     80A58008 80DE1801 80F18008 80F18000 80F1800A 80CF8000 80DF8000 80DF8009 80DF8008 80DF800A 80F38008 80F2180D
     80E18005 80E18008 80E1800A 812F8000 80B98000 80B98008 80BD8008 80CB8001 81998009 81998008 81978008 815F8008
     81338008 817F8008 81478008 813B8008 81578008 81958008 A2141004 A2141006 A2142004 A2142006 A2145004 A4183200
     A6023001 A6023002 A6023003 A6023004 A6060000 A6060001 A6060002 A6060003 A6060004 A6060005 A606000A A606000B
     A606000C A606000F A606009D A6060FFF A607FFFF A6140001 A6140002 A6140003 A6140004 A6140005 A6140006 A6141003
     A6142003 A6143003 A6144003 A6145003 A6192D15 A6193206 A6193215 A6193248 A62F3905 A62FFFFF A6303003 A6303004
     A6360000 A6361000 A6362000 A8021004 A8060FFF A807FFFF A82A0000 80B78000 80B58000 81498004 80F78C02 80F78C03
     80F78C04 81B38008 80E18000 80E21008 80C98001 80E58005 80E58009 80E58E02 80E58E03 816F8008 814F8008 81938008
     80E44E00 80CF8009 80CF8008 813B8002 81338002 81578002 81958002 81938002 81478002 81978002 815F8002 81C9800A
     81C7800A 81C5800A 813F800A 8139800A 8145800A 8C4BA00C 80E3A207`],
  ['replace', 'is not cured by a reset: have the board replaced',
    `80E3A201 80E18402 80E0020B 817F8002 816F8002 814F8002 9419321B A2301000 A2301001 A2302001 A4192C1A A4193216
     A419321B A419321C A42F390F A42F3916 A42F391A A6183207 A62F3934 A8028801 A819320F A8193234 A8193235 80818C00
     80818C05 80DF8402 4C4BA00C`],
] as const satisfies readonly (readonly [Rung, string, string])[];

export interface ChipError {
  readonly rung: Rung;
  /** What it means, as the end of a sentence. */
  readonly meaning: string;
}

const chipErrors = new Map<number, ChipError>();
for (const [rung, meaning, codes] of classes) {
  for (const code of codes.split(/\s+/)) {
    const number = Number.parseInt(code, 16);
    const known = chipErrors.get(number);
    if (known === undefined || rungs.indexOf(known.rung) < rungs.indexOf(rung))
      chipErrors.set(number, { rung, meaning });
  }
}

export function findChipError(code: number): ChipError | null {
  return chipErrors.get(code) ?? null;
}

/** Answers of the driver's interface that stop the tool altogether, and the code of the fault that tells of them. */
export const driverErrors: Readonly<Record<number, { readonly meaning: string; readonly fault: string }>> = {
  [-8001]: { meaning: 'invalid parameter', fault: 'DEVICE_TOOL_FAILED' },
  [-8002]: { meaning: 'not permitted', fault: 'DEVICE_DENIED' },
  [-8003]: { meaning: 'out of memory', fault: 'DEVICE_TOOL_FAILED' },
  [-8005]: { meaning: 'internal error', fault: 'DEVICE_TOOL_FAILED' },
  [-8006]: { meaning: 'time-out', fault: 'DEVICE_TOOL_LATE' },
  [-8007]: { meaning: 'no such device', fault: 'DEVICE_TOOL_FAILED' },
  [-8008]: { meaning: 'the device is not there', fault: 'DEVICE_DRIVER_LOST' },
  [-8009]: { meaning: 'a call of the driver failed', fault: 'DEVICE_TOOL_FAILED' },
  [-8012]: { meaning: 'not ready yet', fault: 'DEVICE_DRIVER_LOST' },
  [-8013]: { meaning: 'not supported in a container', fault: 'DEVICE_TOOL_FAILED' },
  [-8017]: { meaning: 'an upgrade is under way', fault: 'DEVICE_DRIVER_LOST' },
  [-8020]: { meaning: 'occupied', fault: 'DEVICE_TOOL_FAILED' },
  [-8255]: { meaning: 'not supported', fault: 'DEVICE_TOOL_FAILED' },
};
