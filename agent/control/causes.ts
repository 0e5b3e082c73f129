// Why the next pass is due, and so whether it must read the kernel: records say nothing of the kernel, everything else
// may have to do with it.

export class Causes {
  private records = false;
  private others = false;

  recordsCame(): void {
    this.records = true;
  }

  otherCame(): void {
    this.others = true;
  }

  /** For the pass that begins now. @returns whether it is to read everything; so it is when merely its time has come */
  takeFresh(): boolean {
    const fresh = this.others || !this.records;
    this.records = false;
    this.others = false;
    return fresh;
  }
}
