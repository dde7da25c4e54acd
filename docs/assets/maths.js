// MathJax sets what pymdownx.arithmatex has marked, and nothing else.
window.MathJax = {
  tex: {inlineMath: [['\\(', '\\)']], displayMath: [['\\[', '\\]']], processEscapes: true, processEnvironments: true},
  options: {ignoreHtmlClass: '.*|', processHtmlClass: 'arithmatex', enableMenu: false},
};
