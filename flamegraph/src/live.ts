document.title = 'poireau';
