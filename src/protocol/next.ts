// What a build of the next version would add, so that tests can put one in the place of this one and take it back
// again (test/system/upgrade.test.ts). `FLOPD_NEXT=1 node src/build.mjs` sets it; every other build leaves it out.

declare const FLOPD_NEXT: boolean | undefined;

export const isNextBuild: boolean = typeof FLOPD_NEXT !== 'undefined' && FLOPD_NEXT === true;

/** Fields that this version does not know, for a message or a record of the journal; none in an ordinary build. */
export function nextFields(): { readonly [key: string]: unknown } {
  return isNextBuild ? { fromNext: { since: 2, list: [1, { deep: true }] } } : {};
}
