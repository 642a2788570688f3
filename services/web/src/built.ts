// Which entrances answer already? What is false is shown nowhere.

/** `/ws/terminal/environments/{id}`, the other end of the terminal page. */
export const TERMINAL: boolean = false;
