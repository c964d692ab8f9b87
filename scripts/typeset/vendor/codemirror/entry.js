export { EditorState, Compartment } from "@codemirror/state";
export { EditorView, keymap, lineNumbers, drawSelection, highlightActiveLine, highlightSpecialChars,
         highlightActiveLineGutter } from "@codemirror/view";
export { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
export { indentUnit, indentOnInput, bracketMatching, syntaxHighlighting } from "@codemirror/language";
export { python } from "@codemirror/lang-python";
export { classHighlighter } from "@lezer/highlight";
