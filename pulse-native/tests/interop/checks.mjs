// A list of named checks that run in order and end in the plain closing line, `name: 3 passed, 0 failed`.

export class Checks {
  #name;
  #passed = 0;
  #failed = 0;

  constructor(name) {
    this.#name = name;
  }

  /** Runs one check; a failure is printed and the next check runs all the same. */
  async check(what, body) {
    try {
      await body();
      this.#passed += 1;
    } catch (error) {
      this.#failed += 1;
      console.error(`${this.#name}: ${what}: FAILED\n${error.stack ?? error}`);
    }
  }

  /** Prints the closing line and ends the process: with 0 if something ran and nothing failed. */
  finish() {
    console.log(`${this.#name}: ${this.#passed} passed, ${this.#failed} failed`);
    process.exit(this.#failed === 0 && this.#passed > 0 ? 0 : 1);
  }
}
