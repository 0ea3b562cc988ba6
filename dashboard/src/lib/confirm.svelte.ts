/** One question at a time before something that cannot be undone. */
export interface Question {
  title: string;
  text: string;
  /** What the button says that does it. */
  act: string;
  /** To be typed before it can be done; empty: nothing. */
  typed?: string;
  answer: (yes: boolean) => void;
}

export const asked: { question: Question | null } = $state({ question: null });

/** Ask; true when the user wants it. */
export function confirm(question: Omit<Question, "answer">): Promise<boolean> {
  return new Promise((resolve) => {
    asked.question = {
      ...question,
      answer: (yes) => {
        asked.question = null;
        resolve(yes);
      },
    };
  });
}
